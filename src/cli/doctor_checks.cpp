#include "cli/doctor_checks.h"

#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

#include "cli/console.h"
#include "core/check.h"

namespace t2v::cli {
namespace {

namespace fs = std::filesystem;
using core::str;

constexpr int64_t kGiB = int64_t{1} << 30;
constexpr int64_t kSmallMemory = 6 * kGiB;  // the text encoder of the published models, streamed
constexpr int64_t kSmallDisk = 2 * kGiB;
constexpr int64_t kSmallCache = 40 * kGiB;  // blocks of one large model
constexpr int kOldestCapability = 80;
constexpr double kBusyShare = 0.8;  // of a GPU's memory that should be free

Finding ok(std::string area, std::string text) {
  return {std::move(area), FindingLevel::kOk, std::move(text), ""};
}
Finding warn(std::string area, std::string text, std::string advice) {
  return {std::move(area), FindingLevel::kWarn, std::move(text), std::move(advice)};
}
Finding fail(std::string area, std::string text, std::string advice) {
  return {std::move(area), FindingLevel::kFail, std::move(text), std::move(advice)};
}

std::string file_text(const SystemView& view, const char* path) {
  std::ifstream file(view.root + path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// "1048576" of "MemTotal:  1048576 kB" in bytes; 0 when it is not there.
int64_t meminfo(const SystemView& view, const std::string& key) {
  std::istringstream lines(file_text(view, "/proc/meminfo"));
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with(key + ":"))
      return std::strtoll(line.c_str() + key.size() + 1, nullptr, 10) * 1024;
  return 0;
}

// The number at the begin of a file; -1 when there is none ("max").
int64_t number_in(const SystemView& view, const char* path) {
  std::istringstream text(file_text(view, path));
  int64_t number = -1;
  return text >> number ? number : -1;
}

// Processors that the control group grants; 0: no bound.
double granted_processors(const SystemView& view) {
  std::istringstream text(file_text(view, "/sys/fs/cgroup/cpu.max"));
  double quota = 0;
  double period = 0;
  if (text >> quota >> period && period > 0) return quota / period;
  const int64_t old_quota = number_in(view, "/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  const int64_t old_period = number_in(view, "/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  if (old_quota > 0 && old_period > 0)
    return static_cast<double>(old_quota) / static_cast<double>(old_period);
  return 0;
}

int64_t limit_of(__rlimit_resource resource) {
  rlimit limit{};
  if (::getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return -1;
  return static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, INT64_MAX));
}

void check_limits(std::vector<Finding>& findings) {
  if (const int64_t bytes = limit_of(RLIMIT_AS); bytes >= 0)
    findings.push_back(warn(
        "limits", str("ulimit -v is ", bytes_text(bytes), ": LibTorch maps far more than it uses"),
        "ulimit -v unlimited"));
  if (const int64_t bytes = limit_of(RLIMIT_FSIZE); bytes >= 0)
    findings.push_back(
        warn("limits", str("ulimit -f is ", bytes_text(bytes), ": larger files end the process"),
             "ulimit -f unlimited"));
  if (const int64_t files = limit_of(RLIMIT_NOFILE); files >= 0 && files < 256)
    findings.push_back(warn("limits", str("ulimit -n is ", files, ", a model may have more files"),
                            "ulimit -n 1024"));
  if (findings.empty()) findings.push_back(ok("limits", "none that matter (ulimit)"));
}

int64_t free_disk_bytes(const std::string& folder) {
  struct statvfs status {};
  if (::statvfs(folder.c_str(), &status) != 0) return -1;
  return static_cast<int64_t>(status.f_bavail) * static_cast<int64_t>(status.f_frsize);
}

// The folder itself, or what of it is there already.
std::string nearest_folder(std::string folder) {
  std::error_code ignored;
  fs::path path = fs::weakly_canonical(fs::absolute(folder, ignored), ignored);
  while (!fs::is_directory(path, ignored) && path.has_relative_path()) path = path.parent_path();
  return path.string();
}

bool is_network(const std::string& type) {
  return type.starts_with("nfs") || type.starts_with("fuse") || type == "cifs" || type == "9p" ||
         type == "ceph" || type == "lustre" || type == "smb3" || type == "virtiofs";
}

Finding check_output(const SystemView& view) {
  const std::string folder = nearest_folder(view.output_folder);
  if (::access(folder.c_str(), W_OK | X_OK) != 0)
    return warn("videos", str("no permission to write to this folder (", quoted(folder), ")"),
                "name another one with -o");
  const int64_t free = free_disk_bytes(folder);
  const std::string text = str(bytes_text(free), " free where videos go (", quoted(folder), ")");
  if (free >= 0 && free < kSmallDisk)
    return warn("videos", text, "make room, or name another folder with -o");
  return ok("videos", text);
}

Finding check_cache(const SystemView& view) {
  if (view.cache_folder.empty())
    return warn("cache", "there is no folder for blocks of remote models: HOME is not set",
                "set HOME or T2V_CACHE, or give --cache-dir");
  const std::string folder = nearest_folder(view.cache_folder);
  if (::access(folder.c_str(), W_OK | X_OK) != 0)
    return warn("cache",
                str("no permission to write (", quoted(view.cache_folder),
                    "): remote models are read again in every run"),
                "give --cache-dir FOLDER or set T2V_CACHE");
  if (mount_of(folder, view).type == "tmpfs")
    return warn("cache",
                str(quoted(view.cache_folder),
                    " lies in memory (tmpfs): it takes the "
                    "memory that videos need"),
                "give --cache-dir FOLDER on a disk");
  const int64_t free = free_disk_bytes(folder);
  const std::string text =
      str(bytes_text(free), " free for blocks of remote models (", quoted(view.cache_folder), ")");
  if (free >= 0 && free < kSmallCache)
    return warn("cache", text + ", a large model has more",
                "give --cache-dir FOLDER, or use --cache-limit");
  return ok("cache", text);
}

}  // namespace

const char* finding_level_name(FindingLevel level) noexcept {
  return level == FindingLevel::kOk ? "ok" : level == FindingLevel::kWarn ? "warn" : "fail";
}

Mount mount_of(const std::string& path, const SystemView& view) {
  std::error_code ignored;
  const std::string real = fs::weakly_canonical(path, ignored).string();
  std::istringstream lines(file_text(view, "/proc/mounts"));
  Mount best;
  size_t longest = 0;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string device, point, type, options;
    if (!(words >> device >> point >> type >> options)) continue;
    const bool inside = point == "/" || real == point || real.starts_with(point + "/");
    if (!inside || point.size() < longest) continue;
    longest = point.size();
    best = {type, options};
  }
  return best;
}

std::vector<Finding> check_processor(const MachineFacts& facts, const SystemView& view) {
  std::vector<Finding> findings;
  const std::string text = str(
      facts.num_threads, facts.num_threads == 1 ? " thread, " : " threads, ", facts.cpu_capability,
      facts.has_bf16_products ? ", bf16 products" : "", facts.has_amx ? ", matrix unit (AMX)" : "");
  if (facts.has_bf16_products || !facts.gpus.empty()) {
    findings.push_back(ok("processor", text));
  } else {
    findings.push_back(
        warn("processor",
             str(text, facts.has_avx512 ? ": no bf16 products (AVX512-BF16, AMX)" : ": no AVX-512",
                 ", computing in fp32 takes several times as long"),
             "use a GPU or a newer processor for more than tries"));
  }
  const double granted = granted_processors(view);
  if (granted > 0 && granted < static_cast<double>(facts.num_threads))
    findings.push_back(warn("threads",
                            str("the control group grants ", granted, " processors, ",
                                facts.num_threads, " threads would wait for each other"),
                            str("--threads ", std::max(1, static_cast<int>(std::floor(granted))))));
  if (!view.omp_num_threads.empty())
    findings.push_back(warn(
        "threads",
        str("OMP_NUM_THREADS is ", quoted(view.omp_num_threads), ": that many threads compute"),
        "unset OMP_NUM_THREADS unless that is what you want; --threads wins over it"));
  const std::string kernel = file_text(view, "/proc/version");
  if (kernel.find("icrosoft") != std::string::npos)
    findings.push_back(warn("system",
                            "this is WSL: folders of Windows (/mnt/c) are read slowly, memory "
                            "is half of the machine's",
                            "keep models in the Linux file system; raise memory= in .wslconfig"));
  return findings;
}

std::vector<Finding> check_gpus(const MachineFacts& facts) {
  std::vector<Finding> findings;
  if (facts.cuda_driver.empty() && facts.gpus.empty())
    findings.push_back(ok("GPU", "none (no NVIDIA driver): everything runs on the processor"));
  if (!facts.gpu_problem.empty())
    findings.push_back(fail(
        "GPU",
        str("cannot be used: ", facts.gpu_problem,
            facts.cuda_driver.empty() ? "" : str(" (driver for CUDA ", facts.cuda_driver, ")")),
        "install a driver that fits this build's CUDA (nvidia-smi shows what it "
        "offers), or run with --device cpu"));
  for (size_t i = 0; i < facts.gpus.size(); ++i) {
    const MachineGpu& gpu = facts.gpus[i];
    const std::string name = str("GPU ", i);
    const std::string text =
        str(gpu.name, ", compute capability ", gpu.capability / 10, ".", gpu.capability % 10, ", ",
            bytes_text(gpu.total_bytes),
            gpu.free_bytes >= 0 ? str(", ", bytes_text(gpu.free_bytes), " free") : "",
            ", driver for CUDA ", facts.cuda_driver);
    if (gpu.capability < kOldestCapability) {
      findings.push_back(warn(
          name, text + ": older than 8.0, no bf16 products and none of the fast attention kernels",
          "expect long times; --dtype fp16"));
    } else if (gpu.free_bytes < 0) {
      findings.push_back(warn(name, text + ": it does not tell its free memory",
                              "end what else uses it; look at nvidia-smi"));
    } else if (static_cast<double>(gpu.free_bytes) <
               kBusyShare * static_cast<double>(gpu.total_bytes)) {
      findings.push_back(warn(name, text + ": others have the rest",
                              "end what else uses it, or name another one: --device cuda:N"));
    } else {
      findings.push_back(ok(name, text));
    }
    if (gpu.is_mig_slice)
      findings.push_back(warn(name,
                              "is a slice of a GPU (MIG): it has that part of memory and speed",
                              "have MIG switched off for the whole GPU"));
  }
  return findings;
}

std::vector<Finding> check_memory(const MachineFacts& facts, const SystemView& view) {
  std::vector<Finding> findings;
  const int64_t total = meminfo(view, "MemTotal");
  const std::string text =
      str(bytes_text(facts.host_bytes), " of ", bytes_text(total), " can be used");
  if (facts.host_bytes > 0 && facts.host_bytes < kSmallMemory) {
    findings.push_back(warn("memory", text + ": little for the published models",
                            "end other programs; --offload block needs least"));
  } else {
    findings.push_back(ok("memory", text));
  }
  for (const char* path :
       {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    const int64_t limit = number_in(view, path);
    if (limit <= 0 || limit >= total) continue;
    findings.push_back(
        warn("memory",
             str("the control group (container, Slurm) allows ", bytes_text(limit),
                 " of the machine's ", bytes_text(total), "; beyond that the process is killed"),
             "ask for more, or keep below it with --ram-budget"));
    break;
  }
  if (number_in(view, "/proc/sys/vm/overcommit_memory") == 2)
    findings.push_back(warn("memory",
                            "the system does not overcommit (vm.overcommit_memory 2): "
                            "allocations can fail while memory is free",
                            "sysctl vm.overcommit_memory=0"));
  std::vector<Finding> limits;
  check_limits(limits);
  findings.insert(findings.end(), limits.begin(), limits.end());
  return findings;
}

std::vector<Finding> check_folders(const SystemView& view) {
  std::vector<Finding> findings;
  if (!view.model_path.empty()) {
    const Mount mount = mount_of(view.model_path, view);
    if (is_network(mount.type)) {
      findings.push_back(
          warn("model folder", str("lies on a network file system (", mount.type, ")"),
               "copy it to a local disk when weights are streamed (--offload block)"));
    } else if (mount.type == "tmpfs") {
      findings.push_back(warn("model folder", "lies in memory (tmpfs), which videos need too",
                              "move it to a disk"));
    }
  }
  findings.push_back(check_output(view));
  findings.push_back(check_cache(view));
  const Mount tmp = mount_of("/tmp", view);
  if (tmp.type == "tmpfs")
    findings.push_back(warn("/tmp", "lies in memory (tmpfs): videos written there take memory",
                            "write to a disk with -o"));
  if (("," + tmp.options + ",").find(",noexec,") != std::string::npos)
    findings.push_back(warn("/tmp",
                            "does not run programs (noexec): t2v unpacked there does not start",
                            "unpack t2v elsewhere"));
  return findings;
}

}  // namespace t2v::cli
