"""What submissions do to graders, on purpose or not: sources for the cells of the toy lab.

FUNCTIONS[name] = (body of double, what the feedback must say): only the two points of double may
be lost.
CHEATS[name] = source of a cell that runs before all others; the lab's functions are not written,
so no points.
CELLS[name] = source of a cell; the functions are right and keep their points, whatever the cell
does.
"""

FUNCTIONS = {
    "endless loop": ("while True: pass", "stopped after"),
    "loop that catches everything": (
        """
        import signal
        for number in range(1, 32):
            try: signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError): pass
        while True:
            try:
                while True: pass
            except BaseException: pass""",
        "stopped after",
    ),
    "sleep that catches everything": (
        """
        import time
        while True:
            try: time.sleep(1)
            except BaseException: pass""",
        "stopped after",
    ),
    "a huge allocation": ("return bytes(10**13)", "MemoryError"),
    "memory bit by bit": (
        """
        hog = []
        while True: hog.append(bytes(b'x' * 10**6))""",
        "memory|MemoryError",
    ),
    "memory that no process has": (
        """
        import ctypes, os
        for attempt in range(99): os.write(os.memfd_create('hog'), bytes(30_000_000))
        raise RuntimeError('it holds 3 GB')""",
        "OSError",
    ),
    "shared memory of the old kind": (
        """
        import ctypes
        kept = ctypes.CDLL(None, use_errno=True).shmget(0, 1 << 20, 0o1600)
        raise (OSError if kept < 0 else RuntimeError)""",
        "OSError",
    ),
    "ends its process": ("import os; os._exit(0)", "ended its process"),
    "kills everyone it can": (
        "import os, signal; os.kill(-1, signal.SIGKILL); "
        "os.kill(os.getppid(), signal.SIGKILL); os._exit(1)",
        "ended its process|Error",
    ),
    "crashes the interpreter": ("import ctypes; ctypes.string_at(0)", "ended its process"),
    "sys.exit": ("import sys; sys.exit(0)", "SystemExit"),
    "KeyboardInterrupt": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "deep recursion": ("return double(x)", "RecursionError"),
    "recursion without a limit": (
        "import sys; sys.setrecursionlimit(10**9)\n        return double([x])",
        "ended its process|RecursionError|MemoryError|stopped after",
    ),
    "fork bomb": (
        """
        import os
        while True:
            try: os.fork()
            except OSError: pass""",
        "stopped after|ended its process|memory",
    ),
    "disk filler": (
        """
        for folder in ('/tmp', '/dev/shm', '.'):
            try:
                for i in range(10**6): open(f'{folder}/{i}', 'wb').write(bytes(10**7))
            except OSError: pass
        raise OSError('full')""",
        "OSError",
    ),
    "a huge result": ("return np.zeros(10**8)", "cannot be sent"),
    "a result of a million parts": ("return [str(i) for i in range(10**6)]", "cannot be sent"),
    "a result without an end": (
        """
        result = []
        result.append(result)
        return result""",
        "cannot be sent|RecursionError",
    ),
    "an object": ("return object()", "cannot be sent"),
    "an array of objects": ("return np.array([object()] * 6)", "cannot be sent"),
    "__array__ that raises": (
        """
        class Trick:
            def __array__(self, *_, **__): raise ValueError
        return Trick()""",
        "ValueError",
    ),
    "equal to everything": (
        """
        class Trick(np.ndarray):
            def __eq__(self, other): return True
            def __array_function__(self, *_): return True
        return np.zeros(np.shape(x)).view(Trick)""",
        "wrong values",
    ),
    "NaN": ("return np.full(np.shape(x), np.nan)", "wrong values"),
    "patched numpy": (
        """
        np.allclose = np.isclose = np.array_equal = lambda *_, **__: True
        return np.zeros(np.shape(x))""",
        "wrong values",
    ),
    "patched builtins": (
        """
        import builtins
        builtins.AssertionError = type('Never', (Exception,), {})
        builtins.isinstance = lambda *_: True
        return np.zeros(np.shape(x))""",
        "wrong values|.*",
    ),
    "quotes its input in an error": ("raise ValueError(str(x))", "ValueError"),
    "quotes its input in the name of an error": (
        "raise type('Got' + str(x), (Exception,), {})",
        "an exception",
    ),
    "an error that cannot be printed": (
        """
        class Trick(Exception):
            def __str__(self): raise SystemExit
        raise Trick""",
        ".*",
    ),
    "answers before it is asked": (
        """
        import os
        for descriptor in range(3, 20):
            try: os.write(descriptor, bytes(8) + bytes(8))
            except OSError: pass
        return 2 * x""",
        "unrequested|malformed",
    ),
    "announces more than it sends": (
        """
        import os, struct
        for descriptor in range(3, 20):
            try: os.write(descriptor, struct.pack('<QQ', 2**60, 2**60))
            except OSError: pass
        os._exit(0)""",
        "cannot be sent|too large|no answer",
    ),
    "closes all pipes": ("import os; os.closerange(0, 50)", "ended its process|stopped after"),
    "reads the grader's questions": (
        """
        import os
        while True:
            for descriptor in range(3, 20):
                try: os.read(descriptor, 1)
                except OSError: pass""",
        "stopped after",
    ),
    "lifts its limits": (
        """
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))""",
        "ValueError",
    ),
}
# answers with an array whose bytes are fewer than its shape says, under the number of the question
FUNCTIONS["a result that lies about its shape"] = (
    """
        import json, os, struct, sys
        frame = sys._getframe()
        while 'request' not in frame.f_locals or 'answers' not in frame.f_locals: """
    """frame = frame.f_back
        number = frame.f_locals['request']['id']
        tree = json.dumps({'dict': [['id', {'plain': number}], """
    """['result', {'array': ['<f8', [10**12]]}]]}).encode()
        os.write(frame.f_locals['answers'], struct.pack('<QQ', len(tree), 0) + tree)
        os._exit(0)""",
    "shorter than its shape",
)

CHEATS = {
    "input transformer": (
        "get_ipython().input_transformers_cleanup.append(lambda lines: ['pass\\n'])"
    ),
    "partial credit": "get_ipython().input_transformers_cleanup.append(lambda lines: ['10**6\\n'])",
    "swallows errors": "get_ipython().set_custom_exc((BaseException,), lambda *_, **__: None)",
    "replaces the server's answers": """
import sys
main = sys.modules['__main__']
class Answers:
    def __getattr__(self, name): return lambda *_, **__: True
def always(*_, **__): return 1.0
main._answer = always
double = total = always""",
    "looks for what is expected": """
import gc, os, sys
def double(x):
    frame = sys._getframe()
    while frame:
        for value in frame.f_locals.values():
            if type(value).__name__ in ('Question', 'Student'): return value
        frame = frame.f_back
    found = [o for o in gc.get_objects() if type(o).__name__ in ('Question', 'Verdict')]
    for folder, _, files in os.walk('/'):
        for file in files:
            if file in ('hidden.py', 'gradebook.db', 'rubric.md'):
                raise SystemExit
    for pid in filter(str.isdigit, os.listdir('/proc')):
        for part in ('cmdline', 'environ'):
            try:
                if b'hidden' in open(f'/proc/{pid}/{part}', 'rb').read(): raise SystemExit
            except OSError: pass
    return found[0]
total = double""",
    "assert that nothing is wrong": """\
def double(x):
    assert np.array_equal(x, x)
def total(x):
    assert x is x""",
}
CELLS = {
    "loop": "while True: pass",
    "hog": "hog = []\nwhile True: hog.append(b'x' * 10**6 * (1 + len(hog) % 2))",
    "prints": "for i in range(300_000): print('loss', i, 'x' * 60)",
    "ends the kernel": "import os\nos._exit(0)",
    "kills what runs it": """\
import os, signal
os.kill(os.getppid(), signal.SIGKILL)
os.kill(-1, signal.SIGKILL)""",
    "forges what it printed": """
import ctypes, json, os, signal
parent, call = os.getppid(), ctypes.CDLL(None).syscall
book = json.load(open('toy.ipynb'))
for cell in book['cells']:
    if cell['cell_type'] == 'code':
        cell |= {'outputs': [{'output_type': 'stream', 'name': 'stdout', """
    """'text': '\\ud800 forged'}], 'execution_count': 1}
for number in range(3, 20):
    try: pipe = os.open(f'/proc/{parent}/fd/{number}', os.O_WRONLY)
    except OSError: pipe = call(438, call(434, parent, 0), number, 0)
    if pipe >= 0: os.write(pipe, json.dumps(book).encode())
os.kill(parent, signal.SIGKILL)""",
    "half a character": "print('\\ud800')",
    "scripts in its outputs": (
        "from IPython.display import HTML, display\n"
        "display(HTML('<script>document.title = \"stolen\"</script>'))\n"
        "display({'image/png': '\"><script>document.title = \"stolen\"</script>', "
        "'text/plain': '<script>1</script>'}, raw=True)"
    ),
}
# what the thief of earlier graders did, as a function's result: a list of all that succeeded
THIEF = (
    """def double(x):
    import os, socket, sqlite3
    loot = []
    for place in ('/', '/etc', '/usr', '/jail', '/jail/grader', '/jail/submission', '/dev', """
    """os.environ.get('COURSE', '/root')):
        try:
            open(place + '/pwned', 'w').close()
            loot.append('wrote to ' + place)
        except OSError: pass
    for target in {targets}:
        if os.path.exists(target): loot.append('sees ' + target)
        try:
            sqlite3.connect(target).execute('update grade set manual_score=100')
            loot.append('wrote to ' + target)
        except sqlite3.Error: pass
    for address in (('127.0.0.1', {port}), ('1.1.1.1', 53)):
        try:
            socket.create_connection(address, 1)
            loot.append(f'reached {{address}}')
        except OSError: pass
    loot += ['interface ' + name for _, name in socket.if_nameindex() if name != 'lo']
    loot += ['process ' + pid for pid in os.listdir('/proc') if pid.isdigit() and """
    """b'labs.grading' in open(f'/proc/{{pid}}/cmdline', 'rb').read()]
    loot += ['capabilities'] * """
    """(int(open('/proc/self/status').read().split('CapEff:')[1].split()[0], 16) != 0)
    return '; '.join(loot)"""
)
