// Checkpoints of every container, told by content; sets of shards without an index.
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <catch2/catch.hpp>

#include "container_bytes.h"
#include "scratch.h"
#include "weights/checkpoint.h"
#include "weights/checkpoint_files.h"
#include "weights/safetensors_writer.h"

using namespace t2v;
using namespace t2v::weights;
using namespace t2v::test;

namespace {

// Tensor "w": fp32 [2, 3] of 0 ... 5.
std::string ramp_bytes() {
  const at::Tensor ramp = at::arange(6).to(at::kFloat);
  return {static_cast<const char*>(ramp.const_data_ptr()), ramp.nbytes()};
}

std::string gguf_bytes() {
  GgufFile file;
  file.tensors = {{"w", {3, 2}, 0, 0}, {"q", {32}, 8, 32}};
  file.body = ramp_bytes() + std::string(8, '\0') + std::string(34, '\1');
  return file.bytes();
}

std::string torch_bytes() {
  return torch_archive(pickle(pickle_dict({{"w", PickledTensorBytes{}.bytes()}})), {ramp_bytes()});
}

void write_shard(const std::string& path, const std::string& tensor) {
  write_safetensors(path, {{tensor, at::ones({2})}});
}

std::string refusal(const std::string& path) {
  return message_of([&] { Checkpoint::open(path); });
}

}  // namespace

TEST_CASE("the content says what a file is, not its name") {
  const Scratch scratch;
  const at::Tensor ramp = at::arange(6).to(at::kFloat).view({2, 3});
  write_safetensors(scratch / "x.pth", {{"w", ramp}});
  write_text(scratch / "x.safetensors", gguf_bytes());
  write_text(scratch / "x.gguf", torch_bytes());
  for (const char* name : {"x.pth", "x.safetensors", "x.gguf"}) {
    CAPTURE(name);
    CHECK(Checkpoint::open(scratch / name).load("w").equal(ramp));
  }
}

TEST_CASE("a flat file with `generator_ema.` or `generator.` before all names is unwrapped") {
  const Scratch scratch;
  const at::Tensor ema = at::ones({2});
  write_safetensors(scratch / "both", {{"generator.model.a", at::zeros({2})},
                                       {"generator_ema.model.a", ema},
                                       {"generator_ema.model.b", ema}});
  const Checkpoint both = Checkpoint::open(scratch / "both");
  REQUIRE(both.tensors().size() == 2);
  CHECK(both.load("model.a").equal(ema));
  CHECK(both.contains("model.b"));
  CHECK(both.metadata().at("t2v.wrapper") == "generator_ema");
  write_safetensors(scratch / "one", {{"generator.a", ema}});
  CHECK(Checkpoint::open(scratch / "one").metadata().at("t2v.wrapper") == "generator");
  // One name without it: another kind of file.
  write_safetensors(scratch / "mixed", {{"generator.a", ema}, {"b", ema}, {"generators.c", ema}});
  const Checkpoint mixed = Checkpoint::open(scratch / "mixed");
  CHECK(mixed.contains("generator.a"));
  CHECK(mixed.metadata().count("t2v.wrapper") == 0);
}

TEST_CASE("GGML blocks are loaded as bytes and nothing else") {
  const Scratch scratch;
  write_text(scratch / "x", gguf_bytes());
  const Checkpoint checkpoint = Checkpoint::open(scratch / "x");
  const at::Tensor bytes = checkpoint.load("q");
  CHECK(bytes.scalar_type() == at::kByte);
  CHECK(bytes.numel() == 34);
  CHECK(stored_type_name(checkpoint.entry("q")) == "Q8_0");
  at::Tensor destination = at::empty({32});
  CHECK_THAT(message_of([&] { checkpoint.load_into("q", destination); }),
             Catch::Contains("'q' is stored as Q8_0"));
  CHECK_THAT(message_of([&] { (void)checkpoint.load_rows("q", std::vector<int64_t>{0}); }),
             Catch::Contains("'q' is stored as Q8_0"));
}

TEST_CASE("component folders: a single file of each kind") {
  for (const char* name : {"wan.gguf", "Wan2.1_VAE.pth", "x.pt", "x.bin", "x.ckpt"}) {
    CAPTURE(name);
    const Scratch scratch;
    write_text(scratch / "config.json", "{}");
    write_text(scratch / name, std::string(name) == "wan.gguf" ? gguf_bytes() : torch_bytes());
    CHECK(Checkpoint::open(scratch.path()).contains("w"));
  }
  const Scratch scratch;
  write_text(scratch / "a.gguf", gguf_bytes());
  write_text(scratch / "b.gguf", gguf_bytes());
  CHECK_THAT(refusal(scratch.path()), Catch::Contains("several checkpoints"));
}

TEST_CASE("an index can be named itself") {
  const Scratch scratch;
  write_shard(scratch / "s1.safetensors", "a");
  write_text(scratch / "s2.bin", torch_bytes());
  const std::string index = R"({"weight_map":{"a":"s1.safetensors","w":"s2.bin"}})";
  write_text(scratch / "any.index.json", index);
  CHECK(Checkpoint::open(scratch / "any.index.json").tensors().size() == 2);
  write_text(scratch / "any.index.json", "{}      ");
  CHECK_THAT(refusal(scratch / "any.index.json"), Catch::Contains("weight_map"));
}

TEST_CASE("shards without an index are one view when all are there") {
  const Scratch scratch;
  write_shard(scratch / "m-00001-of-00003.safetensors", "a");
  write_shard(scratch / "m-00002-of-00003.safetensors", "b");
  CHECK_THAT(refusal(scratch.path()), Catch::Contains("'m-00003-of-00003.safetensors' is not"));
  CHECK_THAT(refusal(scratch / "m-00001-of-00003.safetensors"),
             Catch::Contains("missing shard: 'm-00003-of-00003.safetensors'"));
  write_shard(scratch / "m-00003-of-00003.safetensors", "c");
  CHECK(Checkpoint::open(scratch.path()).tensors().size() == 3);
  const Checkpoint named = Checkpoint::open(scratch / "m-00002-of-00003.safetensors");
  CHECK(named.tensors().size() == 3);
  CHECK(named.file_of(named.entry("c")) == scratch / "m-00003-of-00003.safetensors");
  write_shard(scratch / "m-00003-of-00003.safetensors", "a");
  CHECK_THAT(refusal(scratch.path()), Catch::Contains("tensor 'a' is in two of them"));
  write_shard(scratch / "other.safetensors", "d");
  CHECK_THAT(refusal(scratch.path()), Catch::Contains("several checkpoints"));
}

TEST_CASE("names of shards") {
  CHECK(shard_names("m-2-of-3.x") ==
        std::vector<std::string>{"m-1-of-3.x", "m-2-of-3.x", "m-3-of-3.x"});
  for (const char* name : {"m", "m-of-3.x", "m-00001-of-00001.x", "m-00000-of-00002.x",
                           "m-00003-of-00002.x", "m-1-of-03.x", "m-x-of-2.x", "m-00001-of-99999.x",
                           "-of-", "m-1-of-", "m-+1-of-02.x", "m-0000000001-of-0000000002.x"}) {
    CAPTURE(name);
    CHECK(shard_names(name) == std::vector<std::string>{name});
  }
}

TEST_CASE("files that hold no weights are named") {
  const Scratch scratch;
  const std::string legacy("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M");
  write_text(scratch / "x", legacy);
  CHECK_THAT(refusal(scratch / "x"), Catch::Contains("a torch file of before 1.6"));
  write_text(scratch / "x", "\x80\x04\x95" + std::string(20, 'x'));
  CHECK_THAT(refusal(scratch / "x"), Catch::Contains("a bare pickle"));
  write_text(scratch / "x", "version https://git-lfs.github.com/spec/v1\n");
  CHECK_THAT(refusal(scratch / "x"), Catch::Contains("git lfs pull"));
  write_text(scratch / "x", "<!DOCTYPE html><html>");
  CHECK_THAT(refusal(scratch / "x"), Catch::Contains("a web page"));
  write_text(scratch / "x", "");
  CHECK_THAT(refusal(scratch / "x"), Catch::Contains("empty"));
}
