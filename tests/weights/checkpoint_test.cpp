#include "weights/checkpoint.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>

#include <catch2/catch.hpp>

#include "scratch.h"
#include "weights/safetensors_writer.h"

using namespace t2v;
using namespace t2v::weights;
using t2v::test::message_of;
using t2v::test::Scratch;
using t2v::test::write_text;

namespace {

const char* const kIndex = "diffusion_pytorch_model.safetensors.index.json";

// Two shards: a, b in s1; c in s2.
void write_shards(const Scratch& scratch) {
  write_safetensors(scratch / "s1.safetensors", {{"a", at::ones({2})}, {"b", at::arange(4)}});
  write_safetensors(scratch / "s2.safetensors", {{"c", at::ones({3}).mul(2)}});
}

void write_index(const Scratch& scratch, const std::string& map) {
  write_text(scratch / kIndex, R"({"metadata":{"total_size":1},"weight_map":)" + map + "}");
}

std::string refusal(const Scratch& scratch) {
  return message_of([&] { Checkpoint::open(scratch.path()); });
}

}  // namespace

TEST_CASE("rows of a table are read without the others") {
  const Scratch scratch;
  const at::Tensor table = at::randn({1000, 16});
  write_safetensors(scratch / "x.safetensors", {{"table", table}, {"other", at::ones({5})}});
  const Checkpoint checkpoint = Checkpoint::open(scratch / "x.safetensors");
  const int64_t before = checkpoint.bytes_read();
  const std::vector<int64_t> rows{999, 0, 7, 7};
  const at::Tensor loaded = checkpoint.load_rows("table", rows);
  CHECK(checkpoint.bytes_read() - before == 4 * 16 * 4);
  for (size_t i = 0; i < rows.size(); ++i)
    CHECK(loaded[static_cast<int64_t>(i)].equal(table[rows[i]]));
  CHECK_THAT(message_of([&] { (void)checkpoint.load_rows("table", std::vector<int64_t>{1000}); }),
             Catch::Contains("1000 rows, row 1000"));
  CHECK_THAT(message_of([&] { (void)checkpoint.load_rows("table", std::vector<int64_t>{-1}); }),
             Catch::Contains("row -1"));
}

TEST_CASE("opening reads the header only, loading one tensor reads that tensor only") {
  const Scratch scratch;
  write_safetensors(scratch / "x.safetensors", {{"a", at::ones({1000})}, {"b", at::ones({10})}});
  const Checkpoint checkpoint = Checkpoint::open(scratch / "x.safetensors");
  const int64_t header = checkpoint.bytes_read();
  CHECK(header < 300);
  CHECK(checkpoint.load("b").equal(at::ones({10})));
  CHECK(checkpoint.bytes_read() - header == 40);
  CHECK(checkpoint.bytes_total() == 4040);
}

TEST_CASE("load_into converts like the tensor's own conversion, in several steps") {
  const Scratch scratch;
  const at::Tensor wide = at::randn({5, 1'000'003});
  write_safetensors(scratch / "x.safetensors", {{"w", wide}, {"h", wide.to(at::kBFloat16)}});
  const Checkpoint checkpoint = Checkpoint::open(scratch / "x.safetensors");
  at::Tensor narrow = at::empty({5, 1'000'003}, at::kBFloat16);
  checkpoint.load_into("w", narrow);
  CHECK(narrow.equal(wide.to(at::kBFloat16)));
  at::Tensor widened = at::empty({5, 1'000'003});
  checkpoint.load_into("h", widened);
  CHECK(widened.equal(wide.to(at::kBFloat16).to(at::kFloat)));
  checkpoint.load_into("w", widened);
  CHECK(widened.equal(wide));
  at::Tensor wrong = at::empty({1'000'003, 5});
  CHECK_THAT(message_of([&] { checkpoint.load_into("w", wrong); }),
             Catch::Contains("tensor 'w' is [5, 1000003]"));
}

TEST_CASE("a missing tensor is named") {
  const Scratch scratch;
  write_safetensors(scratch / "x.safetensors", {{"a", at::ones({1})}});
  const Checkpoint checkpoint = Checkpoint::open(scratch / "x.safetensors");
  CHECK_FALSE(checkpoint.contains("b"));
  CHECK_THAT(message_of([&] { (void)checkpoint.load("b"); }),
             Catch::Contains("tensor 'b' is missing"));
}

TEST_CASE("component folders: single file under each known name") {
  for (const char* name :
       {"diffusion_pytorch_model.safetensors", "model.safetensors", "anything.safetensors"}) {
    const Scratch scratch;
    write_text(scratch / "config.json", "{}");
    write_safetensors(scratch / name, {{"a", at::ones({1})}});
    CHECK(Checkpoint::open(scratch.path()).contains("a"));
  }
}

TEST_CASE("component folders: nothing usable") {
  {
    const Scratch scratch;
    CHECK_THAT(refusal(scratch), Catch::Contains("no weights"));
    write_text(scratch / "diffusion_pytorch_model.bin", "x");
    CHECK_THAT(refusal(scratch), Catch::Contains("diffusion_pytorch_model.bin"));
  }
  {
    const Scratch scratch;
    write_safetensors(scratch / "model-00001-of-00002.safetensors", {{"a", at::ones({1})}});
    CHECK_THAT(refusal(scratch), Catch::Contains("missing index"));
  }
  const Scratch scratch;
  write_safetensors(scratch / "a.safetensors", {{"a", at::ones({1})}});
  write_safetensors(scratch / "b.safetensors", {{"a", at::ones({1})}});
  CHECK_THAT(refusal(scratch), Catch::Contains("several checkpoints"));
  CHECK_THAT(message_of([&] { Checkpoint::open(scratch / "absent"); }), Catch::Contains("absent"));
}

TEST_CASE("shards are one view") {
  const Scratch scratch;
  write_shards(scratch);
  write_index(scratch, R"({"a":"s1.safetensors","b":"s1.safetensors","c":"s2.safetensors"})");
  const Checkpoint checkpoint = Checkpoint::open(scratch.path());
  CHECK(checkpoint.tensors().size() == 3);
  CHECK(checkpoint.load("a").equal(at::ones({2})));
  CHECK(checkpoint.load("b").equal(at::arange(4)));
  CHECK(checkpoint.load("c").equal(at::ones({3}).mul(2)));
  CHECK(checkpoint.file_of(checkpoint.entry("c")) == scratch / "s2.safetensors");
}

TEST_CASE("shards may be links, as in a hub cache") {
  const Scratch scratch;
  std::filesystem::create_directory(scratch / "blobs");
  write_safetensors(scratch / "blobs/0123", {{"a", at::ones({2})}});
  std::filesystem::create_directory(scratch / "snapshot");
  std::filesystem::create_symlink("../blobs/0123", scratch / "snapshot/s.safetensors");
  write_text(scratch / "snapshot/model.safetensors.index.json",
             R"({"weight_map":{"a":"s.safetensors"}})");
  CHECK(Checkpoint::open(scratch / "snapshot").load("a").equal(at::ones({2})));
}

TEST_CASE("an index that names anything but plain files of its folder is refused") {
  const Scratch scratch;
  write_shards(scratch);
  for (const std::string shard : {"../s1.safetensors", "/etc/passwd", "x/s1.safetensors", "..", ".",
                                  "", "a\\\\b", "s1\\u0000.safetensors", "s1\\n.safetensors"}) {
    CAPTURE(shard);
    write_index(scratch, R"({"a":")" + shard + "\"}");
    const std::string message = refusal(scratch);
    CHECK_THAT(message, Catch::Contains("plain name"));
    CHECK_THAT(message, Catch::Contains("tensor 'a'"));
    CHECK_THAT(message, Catch::Contains(kIndex));
  }
}

TEST_CASE("an index and its shards must agree exactly") {
  const Scratch scratch;
  write_shards(scratch);
  write_index(scratch, R"({"a":"s1.safetensors","b":"s1.safetensors","c":"s3.safetensors"})");
  CHECK_THAT(refusal(scratch), Catch::Contains("missing shard: 's3.safetensors'"));
  write_index(
      scratch,
      R"({"a":"s1.safetensors","b":"s1.safetensors","c":"s2.safetensors","d":"s2.safetensors"})");
  CHECK_THAT(refusal(scratch), Catch::Contains("tensor 'd' is not there"));
  write_index(scratch, R"({"a":"s1.safetensors","b":"s2.safetensors","c":"s2.safetensors"})");
  CHECK_THAT(refusal(scratch), Catch::Contains("tensor 'b' belongs into 's2.safetensors'"));
  write_index(scratch, R"({"a":"s1.safetensors","c":"s2.safetensors"})");
  CHECK_THAT(refusal(scratch), Catch::Contains("tensor 'b' is not in the index"));
  write_index(scratch, "{}");
  CHECK_THAT(refusal(scratch), Catch::Contains("empty"));
  write_index(scratch, "[]");
  CHECK_THAT(refusal(scratch), Catch::Contains("weight_map"));
  write_index(scratch, R"({"a":1})");
  CHECK_THAT(refusal(scratch), Catch::Contains("weight_map.a"));
  write_text(scratch / kIndex, "{}");
  CHECK_THAT(refusal(scratch), Catch::Contains("'weight_map' is missing"));
  std::filesystem::create_symlink("/dev/zero", scratch / "z.safetensors");
  write_index(scratch, R"({"a":"z.safetensors"})");
  CHECK_THAT(refusal(scratch), Catch::Contains("it is a device"));
}
