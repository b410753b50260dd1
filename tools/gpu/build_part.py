"""Configures and builds the program, the GPU tests and the benchmarks for this machine's GPU."""
import os
import pathlib
import shutil
import subprocess
import tarfile

PARTS = ["t2v_program", "t2v_gpu_tests", "kernels_host_test", "t2v_bench"]


def torch_folder() -> str:
    given = os.environ.get("T2V_TORCH")
    if given:
        return given
    code = "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
    return subprocess.run(["python3", "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def architecture(dry: bool) -> str:
    """"90" for compute capability 9.0."""
    if dry:
        return os.environ.get("T2V_GPU_ARCH", "90")
    out = subprocess.run(["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"], check=True, capture_output=True, text=True)
    return os.environ.get("T2V_GPU_ARCH", out.stdout.split()[0].replace(".", ""))


def cuda_runtime(build: pathlib.Path, torch: str) -> list:
    """CMake arguments for a toolkit without libcudart.so (only torch's libcudart.so.13 is there); none for a whole one."""
    nvcc = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    root = pathlib.Path(os.path.realpath(nvcc)).parent.parent
    if any((root / folder / "libcudart.so").exists() for folder in ("lib64", "lib", "targets/x86_64-linux/lib")):
        return []
    found = sorted(pathlib.Path(torch).parent.glob("nvidia/*/lib/libcudart.so.*"))
    if not found:
        return []
    link = build / "cudart/libcudart.so"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(found[-1])
    return [f"-DCUDA_CUDART={link}", f"-DCUDA_cudart_LIBRARY={link}"]


def dependencies(build: pathlib.Path) -> list:
    """CMake arguments for packed dependencies, unpacked; none where there is no package of them."""
    archive = pathlib.Path(".gpu-deps/deps.tar.gz")
    if not archive.exists():
        return []
    root = build / "deps"
    if not root.exists() or root.stat().st_mtime < archive.stat().st_mtime:
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        with tarfile.open(archive) as file:
            file.extractall(root)
    # DT_RPATH, not RUNPATH: it also serves what the packed libraries need of each other.
    link = "-Wl,--disable-new-dtags -Wl,-rpath-link," + str(root / "usr/lib/x86_64-linux-gnu")
    return [f"-DCMAKE_PREFIX_PATH={root / 'usr'}", "-DCMAKE_LIBRARY_ARCHITECTURE=x86_64-linux-gnu",
            f"-DPKG_CONFIG_EXECUTABLE={root / 'bin/pkg-config'}", f"-DCMAKE_INCLUDE_PATH={root / 'usr/include/x86_64-linux-gnu'}",
            f"-DCMAKE_CXX_FLAGS=-isystem {root / 'usr/include'} -isystem {root / 'usr/include/x86_64-linux-gnu'}",
            *(f"-DCMAKE_{kind}_LINKER_FLAGS={link}" for kind in ("EXE", "SHARED", "MODULE"))]


def build(runner) -> None:
    torch = torch_folder()
    arguments = ["-DCMAKE_BUILD_TYPE=Release", "-DT2V_CUDA=ON", f"-DT2V_CUDA_ARCHS={architecture(runner.dry)}", f"-DT2V_TORCH={torch}",
                 "-DT2V_S3=OFF", "-DT2V_MEDIA=OFF", "-DT2V_FUZZ=OFF", "-DT2V_CHECKS=OFF", "-DT2V_INSTALL_TORCH=OFF",
                 "-DCMAKE_POLICY_VERSION_MINIMUM=3.5", *dependencies(runner.build),
                 *cuda_runtime(runner.build, torch)]
    # Warnings of another host compiler than ours are not what is looked for; those of ptxas stay errors.
    env = {"NVCC_APPEND_FLAGS": "-Xcompiler=-w"}
    code, _ = runner.run("configure", ["cmake", "-S", ".", "-B", runner.build, "-G", "Ninja", *arguments], 90, env)
    if code != 0:
        return
    jobs = os.environ.get("JOBS", str(len(os.sched_getaffinity(0))))
    runner.run("compile", ["cmake", "--build", runner.build, "-j", jobs, "--target", *PARTS, "--", "-k", "0"], 3600, env)
