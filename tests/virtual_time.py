"""A clock that several threads share and that nobody waits for: it jumps while all of them wait.

Code that uses threading.Condition and threading.Thread runs unchanged with `Condition` and `Thread`
of a VirtualTime in their place. The thread that creates the VirtualTime takes part in it.
"""

import heapq
import threading


class VirtualTime:
    def __init__(self):
        self.now_ns = 0
        self._lock = threading.Lock()
        self._running = 1
        self._sleepers = []
        self._order = 0

    def clock(self):
        return self.now_ns

    def sleep(self, duration_ns):
        self.sleep_until(self.now_ns + duration_ns)

    def sleep_until(self, when_ns):
        woken = threading.Event()
        with self._lock:
            self._order += 1
            heapq.heappush(self._sleepers, (when_ns, self._order, woken))
        self.pause()
        assert woken.wait(30), "the simulation hangs"

    def pause(self):
        """The calling thread waits from now on; if all do, the first sleeper wakes."""
        with self._lock:
            self._running -= 1
            if self._running == 0 and self._sleepers:
                when_ns, _, woken = heapq.heappop(self._sleepers)
                self.now_ns = max(self.now_ns, when_ns)
                self._running += 1
                woken.set()

    def resume(self):
        with self._lock:
            self._running += 1

    def Condition(self):
        return VirtualCondition(self)

    def Thread(self, **arguments):
        return VirtualThread(self, **arguments)


class VirtualCondition:
    def __init__(self, time):
        self._time = time
        self._lock = threading.Lock()
        self._waiting = []

    def __enter__(self):
        self._lock.acquire()

    def __exit__(self, *_):
        self._lock.release()

    def wait_for(self, predicate, timeout_s):
        while not predicate():
            notified = threading.Event()
            self._waiting.append(notified)
            self._lock.release()
            self._time.pause()
            assert notified.wait(30), "the simulation hangs"
            self._lock.acquire()

    def notify_all(self):
        for notified in self._waiting:
            self._time.resume()
            notified.set()
        self._waiting = []


class VirtualThread:
    def __init__(self, time, target, name, daemon):
        self._time = time
        self._thread = threading.Thread(target=self._run, args=[target], name=name, daemon=daemon)

    def _run(self, target):
        target()
        self._time.pause()

    def start(self):
        self._time.resume()
        self._thread.start()

    def join(self):
        self._time.pause()
        self._thread.join(30)
        assert not self._thread.is_alive(), "the simulation hangs"
        self._time.resume()
