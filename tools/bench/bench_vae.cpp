// Decodes latents with the VAE of a model folder and says what it cost: the C++ side of
// bench_vae.py.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>

#include "core/check.h"
#include "models/vae/decoder.h"
#include "models/vae/tile_canvas.h"

namespace {

using t2v::models::vae::Decoder;

struct BenchSettings {
  std::string folder = {};                    // with config.json and the weights
  std::string latents = {};                   // raw fp32 [z, T, h, w]
  int64_t frames = 0, height = 0, width = 0;  // T, h, w
  at::ScalarType dtype = at::kBFloat16;
  int64_t repeats = 1;
  std::string output = {};  // raw fp32 [3, F, H, W]; "" for none
  std::string form = {};    // "frames" for the form of CUDA; else that of the CPU
  t2v::models::vae::Tiling tiling = {};
};

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

int64_t peak_kib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

at::Tensor read_latents(const BenchSettings& settings, int64_t z_dim) {
  at::Tensor latents = at::empty({z_dim, settings.frames, settings.height, settings.width});
  std::ifstream file(settings.latents, std::ios::binary);
  const auto bytes = static_cast<std::streamsize>(latents.nbytes());
  file.read(static_cast<char*>(latents.data_ptr()), bytes);
  T2V_REQUIRE(file.gcount() == bytes, t2v::ErrorKind::kInput, settings.latents, ": expected ",
              bytes, " bytes");
  return latents;
}

at::Tensor decode(const Decoder& decoder, const at::Tensor& latents,
                  const t2v::models::vae::Tiling& tiling) {
  if (tiling.is_tiled())
    return decode_tiles(decoder, latents, tiling, [](auto&&...) {})
        .frames(0, decoder.spec().num_frames(latents.size(1)));
  auto stream = decoder.start(latents.size(2), latents.size(3));
  std::vector<at::Tensor> chunks;
  for (int64_t i = 0; i < latents.size(1); ++i)
    chunks.push_back(stream.next(latents.narrow(1, i, 1)));
  return at::cat(chunks, 1).contiguous();
}

int run(const BenchSettings& settings) {
  using t2v::models::vae::read_vae_spec;
  const auto spec = read_vae_spec(settings.folder + "/config.json");
  const auto map =
      t2v::weights::WeightMap::open(settings.folder, t2v::weights::ModelPart::kVae, "vae");
  using t2v::models::vae::NetworkForm;
  const Decoder decoder(spec, map, settings.dtype, at::kCPU,
                        settings.form == "frames" ? NetworkForm::kFrames : NetworkForm::kChunks);
  const at::Tensor latents = read_latents(settings, spec.z_dim);
  at::Tensor video;
  for (int64_t i = 0; i < settings.repeats; ++i) {
    if (i > 0) {  // the driver says when, so that two programs can take turns
      std::string line;
      if (!std::getline(std::cin, line)) break;
    }
    const double cpu = cpu_seconds();
    const auto start = std::chrono::steady_clock::now();
    video = decode(decoder, latents, settings.tiling).contiguous();
    const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
    std::cout << "cpu_s " << cpu_seconds() - cpu << " wall_s " << wall.count() << " peak_kib "
              << peak_kib() << std::endl;
  }
  if (!settings.output.empty())
    std::ofstream(settings.output, std::ios::binary)
        .write(static_cast<const char*>(video.const_data_ptr()),
               static_cast<std::streamsize>(video.nbytes()));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 8) {
    std::cerr << "usage: bench_vae VAE_FOLDER LATENTS_RAW T H W fp32|bf16 THREADS [REPEATS "
                 "[OUTPUT_RAW [frames|chunks [TILE_ROWS TILE_COLUMNS]]]]\n";
    return 2;
  }
  try {
    BenchSettings settings{.folder = argv[1], .latents = argv[2]};
    settings.frames = std::atoll(argv[3]);
    settings.height = std::atoll(argv[4]);
    settings.width = std::atoll(argv[5]);
    settings.dtype = std::string(argv[6]) == "bf16" ? at::kBFloat16 : at::kFloat;
    at::set_num_threads(std::atoi(argv[7]));
    if (argc > 8) settings.repeats = std::atoll(argv[8]);
    if (argc > 9) settings.output = argv[9];
    if (argc > 10) settings.form = argv[10];
    if (argc > 12)
      settings.tiling = {.rows = std::atoll(argv[11]), .columns = std::atoll(argv[12])};
    return run(settings);
  } catch (const std::exception& error) {
    std::cerr << "bench_vae: " << error.what() << "\n";
    return 1;
  }
}
