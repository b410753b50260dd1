// What --profile costs: the same video by two engines in one process, with a profile and without,
// in turns; medians, and the median of the ratios of neighbours.
//   bench_profile MODEL [repeats] [steps] [frames]
// One JSON line. Wall time, and CPU time of the whole process (which a busy machine disturbs less).
#include <c10/core/InferenceMode.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "bench/measure.h"
#include "bench/null_ends.h"
#include "t2v/engine.h"

namespace {

using namespace t2v;

using bench::NullListener;
using bench::NullSink;

struct Candidate {
  std::unique_ptr<Engine> engine;
  std::vector<double> cpu = {}, wall = {};  // seconds
};

std::unique_ptr<Engine> open(const char* model, bool profile) {
  EngineOptions options;
  options.model_path = model;
  options.profile = profile;
  return open_engine(options);
}

void make(Candidate& candidate, const Request& request) {
  NullSink sink;
  NullListener listener;
  const CancelToken cancel;
  GenerateOutputs outputs;
  outputs.sink = &sink;
  const Recipe recipe = candidate.engine->resolve(request);
  double wall = 0;
  const auto times = bench::time_once([&] {
    wall = candidate.engine->generate(recipe, outputs, listener, cancel).total_ms / 1000;
  });
  candidate.cpu.push_back(times.cpu);
  candidate.wall.push_back(wall);
}

// Neighbours in time see the same load of the machine.
double ratio(const std::vector<double>& with, const std::vector<double>& without) {
  std::vector<double> ratios;
  for (size_t i = 0; i < with.size(); ++i) ratios.push_back(with[i] / without[i]);
  return bench::median(ratios);
}

void print(const Candidate& with, const Candidate& plain) {
  std::printf(
      "{\"repeats\": %zu, \"plain_s\": %.4f, \"with_s\": %.4f, "
      "\"wall_ratio\": %.4f, \"plain_cpu_s\": %.4f, \"with_cpu_s\": %.4f, \"cpu_ratio\": %.4f}\n",
      with.wall.size(), bench::median(plain.wall), bench::median(with.wall),
      ratio(with.wall, plain.wall), bench::median(plain.cpu), bench::median(with.cpu),
      ratio(with.cpu, plain.cpu));
}

void run(int argc, char** argv) {
  const int repeats = argc > 2 ? std::atoi(argv[2]) : 20;
  Request request;
  request.prompt = "a red circle moves right on a black background";
  request.seed = 1;
  if (argc > 3) request.steps = std::atoi(argv[3]);
  if (argc > 4) request.frames = std::atoi(argv[4]);
  Candidate plain{open(argv[1], false)};
  Candidate profiled{open(argv[1], true)};
  for (int i = 0; i <= repeats; ++i) {
    const bool first = i % 2 == 0;  // each comes first as often
    make(first ? plain : profiled, request);
    make(first ? profiled : plain, request);
    if (i > 0) continue;  // warms up, and measures the peak
    for (Candidate* candidate : {&plain, &profiled}) {
      candidate->cpu.clear();
      candidate->wall.clear();
    }
  }
  print(profiled, plain);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "bench_profile MODEL [repeats] [steps] [frames]\n");
    return 2;
  }
  try {
    run(argc, argv);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_profile: %s\n", error.what());
    return 1;
  }
}
