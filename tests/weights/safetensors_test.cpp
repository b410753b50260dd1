#include "weights/safetensors.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <sys/resource.h>

#include <catch2/catch.hpp>
#include <ctime>

#include "scratch.h"
#include "weights/checkpoint.h"
#include "weights/safetensors_writer.h"

using namespace t2v;
using namespace t2v::weights;
using t2v::test::message_of;
using t2v::test::raw_safetensors;
using t2v::test::read_text;
using t2v::test::Scratch;
using t2v::test::write_text;

namespace {

// The error for a file of these bytes; it must name the file.
std::string refusal(const std::string& bytes) {
  const Scratch scratch;
  write_text(scratch / "x.safetensors", bytes);
  const std::string message =
      message_of([&] { read_safetensors_header(LocalFile(scratch / "x.safetensors")); });
  if (message.empty()) return "accepted";
  CHECK_THAT(message, Catch::Contains(scratch / "x.safetensors"));
  return message;
}

std::string one(const std::string& entry) { return "{\"w\":" + entry + "}"; }

}  // namespace

TEST_CASE("what is written is read back: names, dtypes, shapes, bits, metadata") {
  const Scratch scratch;
  const at::Tensor base = at::randn({3, 5});
  const std::vector<NamedTensor> tensors{
      {"b.f32", base},
      {"a.bf16", base.to(at::kBFloat16)},
      {"f16", base.to(at::kHalf)},
      {"f64", base.to(at::kDouble)},
      {"i64", at::arange(7)},
      {"i32", at::arange(7).to(at::kInt)},
      {"i16", at::arange(7).to(at::kShort)},
      {"i8", at::arange(7).to(at::kChar)},
      {"u8", at::arange(7).to(at::kByte)},
      {"bool", at::arange(2).to(at::kBool)},
      {"e4m3", base.to(at::kFloat8_e4m3fn)},
      {"e5m2", base.to(at::kFloat8_e5m2)},
      {"transposed", base.t()},
      {"empty", at::empty({0, 4})},
      {"scalar", at::ones({})},
      {"\xe5\x90\x8d", at::zeros({1})},
  };
  write_safetensors(scratch / "x.safetensors", tensors, {{"format", "pt"}, {"note", "a \"b\"\n"}});
  const Checkpoint checkpoint = Checkpoint::open(scratch / "x.safetensors");
  CHECK(checkpoint.tensors().size() == tensors.size());
  CHECK(checkpoint.metadata() ==
        std::map<std::string, std::string>{{"format", "pt"}, {"note", "a \"b\"\n"}});
  for (const NamedTensor& named : tensors) {
    CAPTURE(named.name);
    const at::Tensor loaded = checkpoint.load(named.name);
    CHECK(loaded.scalar_type() == named.tensor.scalar_type());
    CHECK(loaded.sizes() == named.tensor.sizes());
    CHECK(
        loaded.view(-1).view(at::kByte).equal(named.tensor.contiguous().view(-1).view(at::kByte)));
    const TensorEntry& entry = checkpoint.entry(named.name);
    CHECK(entry.offset % static_cast<int64_t>(loaded.element_size()) == 0);
  }
}

TEST_CASE("the same tensors give the same bytes, whatever their order") {
  const Scratch scratch;
  const NamedTensor a{"a", at::ones({3})};
  const NamedTensor b{"b", at::arange(3)};
  write_safetensors(scratch / "1", {a, b}, {{"x", "1"}, {"y", "2"}});
  write_safetensors(scratch / "2", {b, a}, {{"y", "2"}, {"x", "1"}});
  CHECK(read_text(scratch / "1") == read_text(scratch / "2"));
  write_safetensors(scratch / "none", {});
  CHECK(Checkpoint::open(scratch / "none").tensors().empty());
}

TEST_CASE("the writer refuses duplicate names and dtypes without a word") {
  const Scratch scratch;
  CHECK_THROWS_AS(write_safetensors(scratch / "x", {{"a", at::ones({1})}, {"a", at::ones({1})}}),
                  Error);
  CHECK_THROWS_AS(write_safetensors(scratch / "x", {{"a", at::ones({1}).to(at::kComplexFloat)}}),
                  Error);
  CHECK_FALSE(std::filesystem::exists(scratch / "x"));
}

TEST_CASE("headers: length") {
  CHECK_THAT(refusal(""), Catch::Contains("empty"));
  CHECK_THAT(refusal("1234567"), Catch::Contains("7 bytes"));
  CHECK_THAT(refusal(raw_safetensors("{}", "", 0)), Catch::Contains("claims 0"));
  CHECK_THAT(refusal(raw_safetensors("{}", "", 1)), Catch::Contains("claims 1"));
  CHECK_THAT(refusal(raw_safetensors("{}", "", 3)), Catch::Contains("claims 3"));
  CHECK_THAT(refusal(raw_safetensors("{}", "", 100'000'001)), Catch::Contains("100000001"));
  CHECK_THAT(refusal(raw_safetensors("{}", "", 1ULL << 63)),
             Catch::Contains("9223372036854775808"));
  CHECK_THAT(refusal(raw_safetensors("{}", "", UINT64_MAX)),
             Catch::Contains("18446744073709551615"));
  CHECK(refusal(raw_safetensors("{}", "")) == "accepted");
  CHECK(refusal(raw_safetensors("{}      ", "")) == "accepted");
}

TEST_CASE("headers: grammar") {
  CHECK_THAT(refusal(raw_safetensors("[]", "")), Catch::Contains("start with '{'"));
  CHECK_THAT(refusal(raw_safetensors(" {}", "")), Catch::Contains("start with '{'"));
  CHECK_THAT(refusal(raw_safetensors("{\"w\":", "")), Catch::Contains("JSON"));
  CHECK_THAT(refusal(raw_safetensors("{}{}", "")), Catch::Contains("JSON"));
  CHECK_THAT(refusal(raw_safetensors(std::string("{}\0", 3), "")), Catch::Contains("NUL"));
  CHECK_THAT(refusal(raw_safetensors(one("3"), "")), Catch::Contains("'w'"));
  CHECK_THAT(refusal(raw_safetensors(one("null"), "")), Catch::Contains("'w'"));
  CHECK_THAT(refusal(raw_safetensors(one("[]"), "")), Catch::Contains("'w'"));
  CHECK_THAT(refusal(raw_safetensors(one("{}"), "")), Catch::Contains("no dtype for tensor 'w'"));
  CHECK_THAT(refusal(raw_safetensors(one(R"({"dtype":"F32","shape":[1]})"), "")),
             Catch::Contains("data_offsets"));
  CHECK_THAT(
      refusal(raw_safetensors(one(R"({"dtype":"F31","shape":[1],"data_offsets":[0,4]})"), "1234")),
      Catch::Contains("'F31'"));
  CHECK_THAT(
      refusal(raw_safetensors(one(R"({"dtype":1,"shape":[1],"data_offsets":[0,4]})"), "1234")),
      Catch::Contains("'w'"));
  CHECK_THAT(refusal(raw_safetensors(
                 one(R"({"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]})"), "1234")),
             Catch::Contains("duplicate key 'dtype'"));
  CHECK_THAT(refusal(raw_safetensors(
                 one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1})"), "1234")),
             Catch::Contains("unknown key 'x'"));
  CHECK_THAT(refusal(raw_safetensors(R"({"__metadata__":{"a":1}})", "")),
             Catch::Contains("metadata"));
  CHECK_THAT(refusal(raw_safetensors(R"({"__metadata__":{"a":"1","a":"2"}})", "")),
             Catch::Contains("twice"));
  CHECK_THAT(refusal(raw_safetensors("{\"\xff\":1}", "")), Catch::Contains("JSON"));
  CHECK_THAT(refusal(raw_safetensors("{\"a\\u0007\":1}", "")), Catch::Contains("control bytes"));
  CHECK_THAT(refusal(raw_safetensors("{\"\":1}", "")), Catch::Contains("without a name"));
  CHECK_THAT(refusal(raw_safetensors("{\"a\":" + std::string(200'000, '[') + "}", "")),
             Catch::Contains("'a'"));
}

TEST_CASE("headers: shapes and ranges") {
  const auto entry = [](const std::string& shape, const std::string& offsets) {
    return R"({"dtype":"F32","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
  };
  const auto with = [&](const std::string& shape, const std::string& offsets) {
    return refusal(raw_safetensors(one(entry(shape, offsets)), "12345678"));
  };
  CHECK(with("[2]", "[0,8]") == "accepted");
  CHECK_THAT(with("[3]", "[0,8]"),
             Catch::Contains("tensor 'w' has 8 bytes, its shape and dtype need 12"));
  CHECK_THAT(with("[-2]", "[0,8]"), Catch::Contains("'w'"));
  CHECK_THAT(with("[2.0]", "[0,8]"), Catch::Contains("'w'"));
  CHECK_THAT(with("[\"2\"]", "[0,8]"), Catch::Contains("'w'"));
  CHECK_THAT(with("2", "[0,8]"), Catch::Contains("'w'"));
  CHECK_THAT(with("[[2]]", "[0,8]"), Catch::Contains("'w'"));
  CHECK_THAT(with("[4611686018427387904,4]", "[0,8]"), Catch::Contains("overflows"));
  CHECK_THAT(with("[4611686018427387904,4,0]", "[0,0]"), Catch::Contains("overflows"));
  CHECK_THAT(with("[18446744073709551615]", "[0,8]"), Catch::Contains("'w'"));
  CHECK_THAT(with("[1e1]", "[0,8]"), Catch::Contains("'w'"));
  CHECK_THAT(with("[2]", "[8,0]"), Catch::Contains("data_offsets"));
  CHECK_THAT(with("[2]", "[0]"), Catch::Contains("data_offsets"));
  CHECK_THAT(with("[2]", "[0,8,8]"), Catch::Contains("'w'"));
  CHECK_THAT(with("[2]", "[-1,7]"), Catch::Contains("'w'"));
  CHECK_THAT(with("[2]", "[\"0\",8]"), Catch::Contains("'w'"));
  CHECK_THAT(with("[2]", "[9223372036854775800,9223372036854775807]"), Catch::Contains("'w'"));
  CHECK_THAT(with("[1]", "[0,4]"), Catch::Contains("4 bytes after the last tensor"));
  CHECK_THAT(with("[1]", "[4,8]"), Catch::Contains("bytes before tensor 'w'"));
  CHECK_THAT(with("[4]", "[0,16]"), Catch::Contains("cut short"));
  CHECK_THAT(with("[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,2]", "[0,8]"), Catch::Contains("'w'"));
  const std::string a = "\"a\":" + entry("[1]", "[0,4]");
  CHECK_THAT(
      refusal(raw_safetensors("{" + a + ",\"b\":" + entry("[1]", "[2,6]") + "}", "12345678")),
      Catch::Contains("tensor 'b' overlaps"));
  CHECK_THAT(refusal(raw_safetensors("{" + a + "," + a + "}", "1234")),
             Catch::Contains("tensor 'a' is there twice"));
  CHECK(refusal(raw_safetensors(
            "{" + a + ",\"e\":" + entry("[0]", "[4,4]") + ",\"b\":" + entry("[1]", "[4,8]") + "}",
            "12345678")) == "accepted");
}

TEST_CASE("other files are recognised") {
  CHECK_THAT(refusal("GGUF\x03zzzzzzzzzzzzz"), Catch::Contains("GGUF"));
  CHECK_THAT(refusal("PK\x03\x04zzzzzzzzzzzzzzz"), Catch::Contains("torch archive"));
  CHECK_THAT(refusal("version https://git-lfs.github.com/spec/v1\n"),
             Catch::Contains("git lfs pull"));
}

TEST_CASE("a header of a million tensors is read in bounded time and memory") {
  constexpr int kTensors = 1'000'000;
  std::string header = "{";
  header.reserve(size_t{90} * kTensors);
  for (int i = 0; i < kTensors; ++i) {
    header += (i == 0 ? "\"t." : ",\"t.") + std::to_string(i) +
              R"(":{"dtype":"U8","shape":[1],"data_offsets":[)" + std::to_string(i) + ',' +
              std::to_string(i + 1) + "]}";
  }
  header += "}";
  const Scratch scratch;
  write_text(scratch / "x", raw_safetensors(header, std::string(kTensors, 'x')));
  header.clear();
  header.shrink_to_fit();
  const std::clock_t start = std::clock();
  const ContainerHeader parsed = read_safetensors_header(LocalFile(scratch / "x"));
  const double cpu_seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  CHECK(parsed.tensors.size() == kTensors);
  CHECK(cpu_seconds < 20);  // about 1 in a release build; sanitizers cost more
  struct rusage usage {};
  REQUIRE(::getrusage(RUSAGE_SELF, &usage) == 0);
  CHECK(usage.ru_maxrss <
        2 << 20);  // KiB, of the whole test program: about 330,000 in a release build
  INFO(cpu_seconds << " s, " << usage.ru_maxrss << " KiB");
  SUCCEED();
}
