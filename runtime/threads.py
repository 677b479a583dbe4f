"""The pool of threads TVM gives to the thread that calls it."""

from __future__ import annotations

import ctypes
import os
import threading

from edgemtl.runtime.library import load_ffi, load_runtime

# tvm::runtime::threading::SetMaxConcurrency(int) and MaxConcurrency(): the size of a pool is decided when it
# is made, and the only other way to decide it is the process's environment.
_SET_MAX_CONCURRENCY = "_ZN3tvm7runtime9threading17SetMaxConcurrencyEi"
_MAX_CONCURRENCY = "_ZN3tvm7runtime9threading14MaxConcurrencyEv"
_SHARE_ALL_CORES = -3  # ThreadGroup::kSpecifyThreadShareAllCore
_lock = threading.Lock()


def configure_pool(threads: int) -> int:
    """Give the calling thread a pool of at most ``threads`` threads, itself included; return how many it has.

    There are never more than CPUs this process may use. No thread is bound to a core: two sessions would
    otherwise be bound to the same ones. A thread can do this once.
    """
    runtime, ffi = load_runtime(), load_ffi()
    cpus = sorted(os.sched_getaffinity(0))
    count = min(threads, len(cpus))
    set_max, get_max = runtime[_SET_MAX_CONCURRENCY], runtime[_MAX_CONCURRENCY]
    set_max.argtypes, set_max.restype = [ctypes.c_int], None
    with _lock:
        before = get_max()
        set_max(count)
        ffi.get_global_func("runtime.config_threadpool")(_SHARE_ALL_CORES, count, [str(cpu) for cpu in cpus])
        set_max(before)
    os.sched_setaffinity(0, cpus)
    return int(ffi.get_global_func("runtime.NumThreads")())
