// Folders of random tensors: the same bytes however they are read, numbers that a model can run on.
#include "weights/random_folder.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "weights/checkpoint.h"

namespace t2v::weights {
namespace {

const std::vector<RandomFile> kFiles{
    {"a.safetensors",
     {{"blocks.0.ffn.0.weight", {640, 512}},
      {"blocks.0.ffn.0.bias", {640}},
      {"blocks.0.norm3.weight", {512}},
      {"decoder.norm_out.gamma", {96, 1, 1, 1}},
      {"head.modulation", {1, 2, 512}},
      {"conv.weight", {48, 16, 3, 3, 3}}},
     c10::kFloat},
    {"b.safetensors", {{"blocks.0.ffn.0.weight", {1500, 1024}}}, c10::kBFloat16},
};

std::shared_ptr<const Storage> folder() {
  return make_random_folder("random:test", kFiles, open_storage());
}

std::vector<std::byte> read(const ByteSource& source, int64_t begin, int64_t end) {
  std::vector<std::byte> bytes(static_cast<size_t>(end - begin));
  source.read(begin, bytes);
  return bytes;
}

TEST_CASE("the folder holds its files, and other paths go to the storage beside it") {
  const auto storage = folder();
  CHECK(storage->look("random:test") == PathKind::kFolder);
  CHECK(storage->look("random:test/a.safetensors") == PathKind::kFile);
  CHECK(storage->look("random:test/c.safetensors") == PathKind::kAbsent);
  CHECK(storage->look("/") == PathKind::kFolder);
  const auto entries = storage->list("random:test");
  REQUIRE(entries.size() == 2);
  CHECK(entries[0].name == "a.safetensors");
  CHECK(entries[0].size == storage->open("random:test/a.safetensors")->size());
  CHECK_THROWS_AS(storage->open("random:test/c.safetensors"), Error);
}

TEST_CASE("bytes do not depend on how they are read, nor on the object") {
  for (const char* name : {"random:test/a.safetensors", "random:test/b.safetensors"}) {
    const auto source = folder()->open(name);
    const auto whole = read(*source, 0, source->size());
    const auto other = folder()->open(name);
    for (const int64_t piece : {int64_t{7}, int64_t{4096}, int64_t{1'000'003}}) {
      for (int64_t begin = 0; begin < source->size(); begin += piece * (piece == 7 ? 997 : 1)) {
        const int64_t end = std::min(begin + piece, source->size());
        const auto part = read(*other, begin, end);
        REQUIRE(std::equal(part.begin(), part.end(), whole.begin() + begin));
      }
    }
    CHECK_THROWS_AS(read(*source, source->size() - 1, source->size() + 1), Error);
  }
}

TEST_CASE("norms are near 1, biases small, rows of weights of length about 1") {
  const auto storage = folder();
  const auto a = Checkpoint::open(*storage, "random:test/a.safetensors");
  CHECK(a.tensors().size() == 6);
  const auto mean = [](const at::Tensor& x) { return x.mean().item<double>(); };
  const auto deviation = [](const at::Tensor& x) { return x.std().item<double>(); };
  CHECK(mean(a.load("blocks.0.norm3.weight")) == Approx(1).margin(0.02));
  CHECK(mean(a.load("decoder.norm_out.gamma")) == Approx(1).margin(0.05));
  CHECK(deviation(a.load("blocks.0.ffn.0.bias")) == Approx(0.02).epsilon(0.2));
  CHECK(deviation(a.load("head.modulation")) == Approx(0.2).epsilon(0.2));
  const at::Tensor weight = a.load("blocks.0.ffn.0.weight");
  CHECK(mean(weight) == Approx(0).margin(0.001));
  CHECK(weight.norm(2, -1).mean().item<double>() == Approx(1).epsilon(0.05));
  CHECK_FALSE(at::equal(weight[0], weight[1]));
  CHECK(deviation(a.load("conv.weight")) == Approx(1 / std::sqrt(16.0 * 27)).epsilon(0.05));
  // More elements than the pool has: the walk begins again.
  const auto b = Checkpoint::open(*storage, "random:test/b.safetensors");
  const at::Tensor wide = b.load("blocks.0.ffn.0.weight").to(at::kFloat);
  CHECK(wide.isfinite().all().item<bool>());
  CHECK(wide.norm(2, -1).mean().item<double>() == Approx(1).epsilon(0.05));
}

}  // namespace
}  // namespace t2v::weights
