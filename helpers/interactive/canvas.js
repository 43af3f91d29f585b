// The canvas in a notebook: after each stroke, the pixels of the input go into a hidden text field,
// which the front end passes on to Python.
(() => {
  const { Pad, toInput } = globalThis.DigitDrawing;
  const root = document.getElementById("MY_DIGIT");

  function send(text) {
    const field = document.querySelector(".MY_DIGIT textarea");
    const problem = root.querySelector(".my-digit-problem");
    problem.textContent = field ? "" : "The drawing cannot be stored here: use JupyterLab.";
    if (!field) return;
    field.value = text;
    field.dispatchEvent(new Event("change", { bubbles: true }));
  }

  const pad = new Pad(root.querySelector(".my-digit-pad"), () => {
    pad.draw();
    if (pad.isDrawing) return;
    const isEmpty = pad.strokes.length === 0;
    send(isEmpty ? "" : btoa(String.fromCharCode(...toInput(pad.strokes))));
  });
  root.querySelector(".my-digit-clear").addEventListener("click", () => pad.clear());
  pad.draw();
})();
