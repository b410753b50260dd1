// What t2v doctor says about machines that this one is not.
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "cli/disk_speed.h"
#include "cli/doctor_checks.h"
#include "cli/doctor_tiers.h"

namespace t2v::cli {
namespace {

namespace fs = std::filesystem;

// A folder with /proc and /sys of another machine.
class Machine {
 public:
  Machine() : root_(fs::temp_directory_path() / ("t2v-doctor-" + std::to_string(::getpid()))) {
    put("/proc/meminfo", "MemTotal:       65536000 kB\nMemFree: 100 kB\n");
    put("/proc/version", "Linux version 6.1");
    put("/proc/mounts", "/dev/sda1 / ext4 rw 0 0\n");
    facts.num_threads = 8;
    facts.cpu_capability = "AVX512";
    facts.has_avx512 = facts.has_bf16_products = true;
    facts.host_bytes = int64_t{60} << 30;
    fs::create_directories(root_ / "videos");
    view.root = root_.string();
    view.output_folder = (root_ / "videos").string();
    view.cache_folder = (root_ / "videos").string();
  }
  ~Machine() { fs::remove_all(root_); }

  void put(const std::string& path, const std::string& text) {
    const fs::path file(root_.string() + path);
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  [[nodiscard]] std::string folder(const std::string& name) const {
    return (root_ / name).string();
  }

  MachineFacts facts;
  SystemView view;

 private:
  fs::path root_;
};

// The finding whose text has these words; null: none.
const Finding* find(const std::vector<Finding>& findings, const std::string& words) {
  for (const Finding& finding : findings)
    if (finding.text.find(words) != std::string::npos) return &finding;
  return nullptr;
}

void check_advice(const std::vector<Finding>& findings) {
  for (const Finding& finding : findings) {
    CAPTURE(finding.area, finding.text);
    CHECK_FALSE(finding.area.empty());
    CHECK(finding.advice.empty() == (finding.level == FindingLevel::kOk));
  }
}

TEST_CASE("a good machine is ok") {
  Machine machine;
  const auto processor = check_processor(machine.facts, machine.view);
  REQUIRE(processor.size() == 1);
  CHECK(processor[0].level == FindingLevel::kOk);
  CHECK(find(processor, "8 threads, AVX512, bf16 products"));
  const auto memory = check_memory(machine.facts, machine.view);
  REQUIRE(find(memory, "can be used"));
  CHECK(find(memory, "can be used")->level == FindingLevel::kOk);
  CHECK(check_gpus(machine.facts).at(0).level == FindingLevel::kOk);
}

TEST_CASE("traps of the processor are found") {
  Machine machine;
  machine.facts.has_avx512 = machine.facts.has_bf16_products = false;
  machine.view.omp_num_threads = "2";
  machine.put("/sys/fs/cgroup/cpu.max", "350000 100000\n");
  machine.put("/proc/version", "Linux version 5.15.1-microsoft-standard-WSL2");
  const auto found = check_processor(machine.facts, machine.view);
  check_advice(found);
  CHECK(find(found, "no AVX-512"));
  CHECK(find(found, "OMP_NUM_THREADS is '2'"));
  REQUIRE(find(found, "grants 3.5 processors"));
  CHECK(find(found, "grants 3.5 processors")->advice == "--threads 3");
  CHECK(find(found, "WSL"));
  machine.put("/sys/fs/cgroup/cpu.max", "max 100000\n");
  CHECK_FALSE(find(check_processor(machine.facts, machine.view), "grants"));
}

TEST_CASE("traps of memory are found") {
  Machine machine;
  machine.facts.host_bytes = int64_t{4} << 30;
  machine.put("/sys/fs/cgroup/memory.max", "4294967296\n");
  machine.put("/proc/sys/vm/overcommit_memory", "2\n");
  const auto found = check_memory(machine.facts, machine.view);
  check_advice(found);
  CHECK(find(found, "little for the published models"));
  CHECK(find(found, "allows 4.29 GB"));
  CHECK(find(found, "does not overcommit"));
  machine.put("/sys/fs/cgroup/memory.max", "max\n");
  machine.put("/proc/sys/vm/overcommit_memory", "0\n");
  const auto fine = check_memory(machine.facts, machine.view);
  CHECK_FALSE(find(fine, "control group"));
  CHECK_FALSE(find(fine, "overcommit"));
}

TEST_CASE("GPUs: old, busy, sliced, silent, without a driver that works") {
  Machine machine;
  machine.facts.cuda_driver = "12.4";
  machine.facts.gpus = {
      {.name = "A", .capability = 90, .total_bytes = 80'000'000'000, .free_bytes = 79'000'000'000},
      {.name = "B", .capability = 75, .total_bytes = 16'000'000'000, .free_bytes = 16'000'000'000},
      {.name = "C", .capability = 90, .total_bytes = 80'000'000'000, .free_bytes = 1'000'000'000},
      {.name = "D MIG 1g.10gb",
       .capability = 80,
       .total_bytes = 10'000'000'000,
       .free_bytes = 10'000'000'000,
       .is_mig_slice = true},
      {.name = "E", .capability = 80, .total_bytes = 10'000'000'000, .free_bytes = -1}};
  const auto found = check_gpus(machine.facts);
  check_advice(found);
  CHECK(find(found, "A, compute capability 9.0, 80.00 GB")->level == FindingLevel::kOk);
  CHECK(find(found, "older than 8.0")->area == "GPU 1");
  CHECK(find(found, "others have the rest")->area == "GPU 2");
  CHECK(find(found, "slice of a GPU")->area == "GPU 3");
  CHECK(find(found, "does not tell its free memory")->area == "GPU 4");
  machine.facts.gpus.clear();
  machine.facts.gpu_problem = "CUDA driver version is insufficient";
  const auto broken = check_gpus(machine.facts);
  REQUIRE(broken.size() == 1);
  CHECK(broken[0].level == FindingLevel::kFail);
  check_advice(broken);
}

TEST_CASE("folders: mounts, permissions, memory file systems") {
  Machine machine;
  const std::string model = machine.folder("model");
  fs::create_directories(model);
  machine.view.model_path = model;
  machine.put("/proc/mounts", "/dev/sda1 / ext4 rw 0 0\nserver:/x " + model +
                                  " nfs4 rw 0 0\ntmpfs /tmp tmpfs rw,noexec,nosuid 0 0\n");
  CHECK(mount_of(model, machine.view).type == "nfs4");
  CHECK(mount_of(model + "-not", machine.view).type != "nfs4");
  const auto found = check_folders(machine.view);
  check_advice(found);
  CHECK(find(found, "network file system (nfs4)"));
  CHECK(find(found, "noexec"));
  CHECK(find(found, "lies in memory (tmpfs)"));
  machine.view.cache_folder.clear();
  CHECK(find(check_folders(machine.view), "HOME is not set"));
  if (::geteuid() != 0) {  // root may write anywhere
    machine.view.cache_folder = "/proc/t2v";
    CHECK(find(check_folders(machine.view), "no permission"));
  }
}

TEST_CASE("the read speed is of the largest file, past the system's memory") {
  const Machine machine;
  const std::string folder = machine.folder("model");
  fs::create_directories(folder);
  std::ofstream(folder + "/small") << "x";
  CHECK(measure_read_speed(folder).file.empty());
  std::ofstream(folder + "/large") << std::string(3'000'001, 'x');
  const ReadSpeed speed = measure_read_speed(folder);
  CHECK(speed.file == folder + "/large");
  CHECK(speed.bytes == 3'000'001);
  CHECK(speed.gb_per_s() > 0);
  CHECK(measure_read_speed(folder + "/large").bytes == 3'000'001);
  CHECK(measure_read_speed(folder + "/absent").file.empty());
}

TEST_CASE("estimates grow with the work, and are near a published figure") {
  Recipe recipe;
  recipe.width = 832;
  recipe.height = 480;
  recipe.frames = 81;
  recipe.steps = 50;
  recipe.guidance_scale = {.high_noise = 5, .low_noise = 5};
  const ModelShape shape{.parameters = 1.42e9, .width = 1536, .blocks = 30};
  // Wan2.1-T2V-1.3B, 480p, 50 steps: about 4 minutes on an RTX 4090 (165 TFLOP/s of bf16).
  const double minutes = estimated_minutes(recipe, shape, 165e12);
  CHECK(minutes > 2);
  CHECK(minutes < 8);
  recipe.guidance_scale = {.high_noise = 1, .low_noise = 1};
  CHECK(estimated_minutes(recipe, shape, 165e12) == Approx(minutes / 2));
  CHECK(estimated_minutes(recipe, shape, 0) == 0);
  // Tokens of twice the side: a quarter of them.
  ModelShape coarse = shape;
  coarse.token_px = 32;
  CHECK(estimated_minutes(recipe, coarse, 165e12) < minutes / 2 / 4);
  CHECK(std::string(tier_verdict({.problem = "does not fit"})) == "no");
  CHECK(std::string(tier_verdict({.minutes = 3})) == "good");
  CHECK(std::string(tier_verdict({})) == "fits");
  CHECK(std::string(tier_verdict({.minutes = 60})) == "slow");
  CHECK(std::string(tier_verdict({.minutes = 6000})) == "too slow");
}

}  // namespace
}  // namespace t2v::cli
