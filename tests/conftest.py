"""What all tests share: four fake CPU devices, no network, a compilation cache, and parity only beside torch."""

import atexit
import importlib.util
import os
import shutil
import tempfile

import hypothesis

# JAX reads these once, when it is imported, so they are set before any test module is. Subprocesses inherit them.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
DEVICES = "--xla_force_host_platform_device_count"
if DEVICES not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DEVICES}=4".strip()

# Tests compile the same small programs again and again, in this process and in those that they start. The folder
# lasts one session, so that no test can pass on what an earlier version of the code compiled; name a folder of your
# own in JAX_COMPILATION_CACHE_DIR to keep it.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    cache = tempfile.mkdtemp(prefix="jaxpeft-tests-")  # mode 0700
    atexit.register(shutil.rmtree, cache, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = cache
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("ci")

if not (importlib.util.find_spec("torch") and importlib.util.find_spec("peft")):
    collect_ignore_glob = ["parity/*"]
