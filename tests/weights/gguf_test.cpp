// GGUF headers: what is read, what is refused.
#include "weights/gguf.h"

#include <catch2/catch.hpp>

#include "container_bytes.h"
#include "scratch.h"

using namespace t2v;
using namespace t2v::weights;
using namespace t2v::test;

namespace {

// a [3, 2] F32; b [2, 64] Q8_0
GgufFile tiny() {
  GgufFile file;
  file.pairs = {gguf_pair("general.architecture", 8, gguf_string("wan")),
                gguf_pair("wan.block_count", 4, le<uint32_t>(30))};
  file.tensors = {{"a", {2, 3}, 0, 0}, {"b", {64, 2}, 8, 32}};
  file.body = std::string(32 + 4 * 34, 'x');
  return file;
}

ContainerHeader read(const std::string& bytes) {
  const Scratch scratch;
  write_text(scratch / "x.gguf", bytes);
  return read_gguf_header(LocalFile(scratch / "x.gguf"));
}

std::string refusal(const std::string& bytes) {
  const std::string message = message_of([&] { read(bytes); });
  if (!message.empty()) CHECK_THAT(message, Catch::Contains("x.gguf"));
  return message;
}

// The refusal of tiny() after a change.
template <typename Change>
std::string refusal_of(Change&& change) {
  GgufFile file = tiny();
  change(file);
  return refusal(file.bytes());
}

std::string refusal_of_pair(const std::string& pair) {
  return refusal_of([&](GgufFile& file) { file.pairs.push_back(pair); });
}

}  // namespace

TEST_CASE("GGUF: tensors, shapes, keys") {
  for (const uint32_t version : {2U, 3U}) {
    GgufFile file = tiny();
    file.version = version;
    const std::string bytes = file.bytes();
    const ContainerHeader header = read(bytes);
    REQUIRE(header.tensors.size() == 2);
    const TensorEntry& a = header.tensors[0];
    const TensorEntry& b = header.tensors[1];
    CHECK(a.name == "a");
    CHECK(a.dtype == c10::ScalarType::Float);
    CHECK(a.shape == std::vector<int64_t>{3, 2});  // the file counts from the fastest
    CHECK(a.bytes == 24);
    CHECK(a.offset == static_cast<int64_t>(bytes.size() - file.body.size()));
    CHECK(b.dtype == c10::ScalarType::Byte);
    CHECK(b.encoding == Encoding::kQ8_0);
    CHECK(b.shape == std::vector<int64_t>{2, 64});
    CHECK(b.bytes == 4 * 34);
    CHECK(b.offset == a.offset + 32);
    CHECK(header.metadata.at("general.architecture") == "wan");
    CHECK(header.metadata.at("wan.block_count") == "30");
  }
}

TEST_CASE("GGUF: every type of value") {
  GgufFile file = tiny();
  const std::string strings = gguf_string("one") + gguf_string("two");
  file.pairs = {
      gguf_pair("u8", 0, le<uint8_t>(200)),
      gguf_pair("i8", 1, le<int8_t>(-3)),
      gguf_pair("u16", 2, le<uint16_t>(60000)),
      gguf_pair("i16", 3, le<int16_t>(-300)),
      gguf_pair("u32", 4, le<uint32_t>(4'000'000'000)),
      gguf_pair("i32", 5, le<int32_t>(-70000)),
      gguf_pair("f32", 6, le<uint32_t>(0x3fc00000)),
      gguf_pair("yes", 7, le<uint8_t>(1)),
      gguf_pair("text", 8, gguf_string("a b")),
      gguf_pair("u64", 10, le<uint64_t>(UINT64_MAX)),
      gguf_pair("i64", 11, le<int64_t>(-1)),
      gguf_pair("f64", 12, le<uint64_t>(0x3ff8000000000000)),
      gguf_pair("numbers", 9, le<uint32_t>(5) + le<uint64_t>(2) + le(7) + le(-8)),
      gguf_pair("none", 9, le<uint32_t>(4) + le<uint64_t>(0)),
      gguf_pair("words", 9, le<uint32_t>(8) + le<uint64_t>(2) + strings),
      gguf_pair("many", 9, le<uint32_t>(0) + le<uint64_t>(1000) + std::string(1000, 'x'))};
  const auto metadata = read(file.bytes()).metadata;
  const std::map<std::string, std::string> expected = {{"u8", "200"},
                                                       {"i8", "-3"},
                                                       {"u16", "60000"},
                                                       {"i16", "-300"},
                                                       {"u32", "4000000000"},
                                                       {"i32", "-70000"},
                                                       {"f32", "1.5"},
                                                       {"yes", "true"},
                                                       {"text", "a b"},
                                                       {"u64", "18446744073709551615"},
                                                       {"i64", "-1"},
                                                       {"f64", "1.5"},
                                                       {"numbers", "[7, -8]"},
                                                       {"none", "[]"},
                                                       {"words", "[STRING x 2]"},
                                                       {"many", "[U8 x 1000]"}};
  CHECK(metadata == expected);
}

TEST_CASE("GGUF: shapes of more dimensions than the format has are restored") {
  GgufFile file = tiny();
  const std::string shape = le<uint32_t>(5) + le<uint64_t>(3) + le(1) + le(2) + le(3);
  file.pairs.push_back(gguf_pair("comfy.gguf.orig_shape.a", 9, shape));
  CHECK(read(file.bytes()).tensors[0].shape == std::vector<int64_t>{1, 2, 3});
  // Blocks run on over short rows.
  const std::string narrow = le<uint32_t>(5) + le<uint64_t>(2) + le(16) + le(8);
  file.pairs.push_back(gguf_pair("comfy.gguf.orig_shape.b", 9, narrow));
  CHECK(read(file.bytes()).tensors[1].shape == std::vector<int64_t>{16, 8});
  CHECK(read(file.bytes()).tensors[1].bytes == 4 * 34);
}

TEST_CASE("GGUF: another alignment") {
  GgufFile file = tiny();
  file.pairs.push_back(gguf_pair("general.alignment", 4, le<uint32_t>(8)));
  file.alignment = 8;
  file.tensors[1].offset = 24;
  CHECK(read(file.bytes()).tensors[1].offset % 8 == 0);
}

TEST_CASE("GGUF: broken beginnings") {
  CHECK_THAT(refusal("GGUF"), Catch::Contains("expected at byte 4"));
  CHECK_THAT(refusal("GGUx" + std::string(60, '\0')), Catch::Contains("does not start"));
  CHECK_THAT(refusal_of([](GgufFile& file) { file.version = 1; }), Catch::Contains("version 1"));
  CHECK_THAT(refusal_of([](GgufFile& file) { file.version = 4; }), Catch::Contains("version 4"));
  CHECK_THAT(refusal_of([](GgufFile& file) { file.version = 3U << 24; }),
             Catch::Contains("big-endian"));
  for (const uint64_t count : {uint64_t{3}, uint64_t{1} << 20, uint64_t{1} << 62, UINT64_MAX - 1}) {
    CAPTURE(count);
    CHECK_FALSE(refusal_of([&](GgufFile& file) { file.num_tensors = count; }).empty());
    CHECK_FALSE(refusal_of([&](GgufFile& file) { file.num_pairs = count; }).empty());
  }
  CHECK_FALSE(refusal_of([&](GgufFile& file) { file.num_pairs = 1; }).empty());
}

TEST_CASE("GGUF: broken keys") {
  const std::string one = le<uint32_t>(1);
  CHECK_THAT(refusal_of_pair(gguf_pair("k", 13, one)),
             Catch::Contains("'k' is of unknown type 13"));
  CHECK_THAT(refusal_of_pair(gguf_pair("k", 7, "\2")), Catch::Contains("'k' is 2"));
  CHECK_THAT(refusal_of_pair(gguf_pair("", 4, one)), Catch::Contains("a name of 0 bytes"));
  CHECK_THAT(refusal_of_pair(gguf_pair("a\nb", 4, one)), Catch::Contains("control bytes"));
  CHECK_THAT(refusal_of_pair(gguf_pair("wan.block_count", 4, one)), Catch::Contains("there twice"));
  CHECK_THAT(refusal_of_pair(gguf_pair("k", 8, le(uint64_t{1} << 40))),
             Catch::Contains("are expected at byte"));
  CHECK_THAT(refusal_of_pair(le<uint64_t>(UINT64_MAX) + "k"), Catch::Contains("a name of"));
  for (const uint64_t count : {uint64_t{1000}, uint64_t{1} << 40, uint64_t{1} << 61, UINT64_MAX}) {
    CAPTURE(count);
    for (const uint32_t type : {0U, 5U, 8U, 10U, 12U}) {
      CHECK_FALSE(refusal_of_pair(gguf_pair("k", 9, le(type) + le(count))).empty());
    }
  }
  CHECK_THAT(refusal_of_pair(gguf_pair("k", 9, le<uint32_t>(9) + le<uint64_t>(1) + one)),
             Catch::Contains("array of arrays"));
  CHECK_THAT(refusal_of_pair(gguf_pair("k", 9, le<uint32_t>(77) + le<uint64_t>(1) + one)),
             Catch::Contains("unknown type 77"));
  for (const uint32_t alignment : {0U, 3U, 48U, 1U << 31}) {
    CHECK_THAT(refusal_of_pair(gguf_pair("general.alignment", 4, le(alignment))),
               Catch::Contains("general.alignment"));
  }
  CHECK_THAT(refusal_of_pair(gguf_pair("general.alignment", 8, gguf_string("32"))),
             Catch::Contains("general.alignment"));
}

TEST_CASE("GGUF: broken original shapes") {
  const std::string key = "comfy.gguf.orig_shape.a";
  const auto of = [&](const std::string& value) {
    return refusal_of_pair(gguf_pair(key, 9, value));
  };
  CHECK_THAT(of(le<uint32_t>(5) + le<uint64_t>(1) + le(7)), Catch::Contains("'a' has 6 elements"));
  CHECK_THAT(of(le<uint32_t>(5) + le<uint64_t>(2) + le(-1) + le(-6)), Catch::Contains("holds -1"));
  CHECK_THAT(of(le<uint32_t>(6) + le<uint64_t>(1) + le(6)), Catch::Contains("expected at most 8"));
  CHECK_THAT(of(le<uint32_t>(5) + le<uint64_t>(9) + std::string(36, '\1')),
             Catch::Contains("expected at most 8"));
  CHECK_THAT(of(le<uint32_t>(11) + le<uint64_t>(2) + le(INT64_MAX) + le(INT64_MAX)),
             Catch::Contains("'a' has 6 elements"));
}

TEST_CASE("GGUF: broken tensors") {
  const auto of = [](const GgufTensor& tensor) {
    return refusal_of([&](GgufFile& file) { file.tensors[1] = tensor; });
  };
  CHECK_THAT(of({"a", {64, 2}, 8, 32}), Catch::Contains("'a' is there twice"));
  CHECK_THAT(of({"", {64, 2}, 8, 32}), Catch::Contains("a name of 0 bytes"));
  CHECK_THAT(of({std::string(2000, 'n'), {64, 2}, 8, 32}), Catch::Contains("a name of 2000"));
  CHECK_THAT(of({"b\x1b[2J", {64, 2}, 8, 32}), Catch::Contains("control bytes"));
  CHECK_THAT(of({"b", {1, 1, 1, 1, 1, 1, 1, 1, 1}, 0, 32}), Catch::Contains("9 dimensions"));
  CHECK_THAT(of({"b", {63, 2}, 8, 32}), Catch::Contains("expected a multiple of 32"));
  CHECK_THAT(of({"b", {}, 8, 32}), Catch::Contains("expected a multiple of 32"));
  CHECK_THAT(of({"b", {64, 2}, 12, 32}), Catch::Contains("expected a multiple of 256"));
  CHECK_THAT(of({"b", {64, 3}, 8, 32}), Catch::Contains("'b' has 204 bytes"));
  CHECK_THAT(of({"b", {64, 2}, 8, 0}), Catch::Contains("overlaps"));
  CHECK_THAT(of({"b", {64, 2}, 8, 33}), Catch::Contains("expected a multiple of 32"));
  CHECK_THAT(of({"b", {64, 2}, 8, 1 << 20}), Catch::Contains("was it cut short"));
  CHECK_THAT(of({"b", {64, 2}, 8, 1ULL << 63}), Catch::Contains("beyond the file"));
  CHECK_THAT(of({"b", {64, 2}, 8, UINT64_MAX - 31}), Catch::Contains("beyond the file"));
  CHECK_THAT(of({"b", {1ULL << 63, 2}, 0, 32}), Catch::Contains("overflows"));
  CHECK_THAT(of({"b", {1ULL << 40, 1ULL << 40}, 0, 32}), Catch::Contains("overflows"));
  CHECK_THAT(of({"b", {0, 1ULL << 40, 1ULL << 40}, 0, 32}), Catch::Contains("overflows"));
  CHECK_THAT(of({"b", {1ULL << 62}, 0, 32}), Catch::Contains("overflows"));
  CHECK_THAT(of({"b", {64, 2}, 23, 32}), Catch::Contains("'b' is stored as IQ4_XS"));
  CHECK_THAT(of({"b", {64, 2}, 39, 32}), Catch::Contains("MXFP4"));
  CHECK_THAT(of({"b", {64, 2}, 24, 32}), Catch::Contains("I8"));
  CHECK_THAT(of({"b", {64, 2}, 4, 32}), Catch::Contains("unknown type 4"));
  CHECK_THAT(of({"b", {64, 2}, UINT32_MAX, 32}), Catch::Contains("unknown type 4294967295"));
}

TEST_CASE("GGUF: a file cut at any byte is refused; flipped header bits are refused or harmless") {
  const GgufFile file = tiny();
  const std::string whole = file.bytes();
  for (size_t size = 0; size < whole.size(); ++size) {
    CAPTURE(size);
    if (refusal(whole.substr(0, size)).empty()) FAIL("accepted");
  }
  const ContainerHeader header = read(whole);
  const Scratch scratch;
  for (size_t bit = 0; bit < file.header().size() * 8; ++bit) {
    std::string flipped = whole;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ 1 << bit % 8);
    write_text(scratch / "x.gguf", flipped);
    ContainerHeader other;
    const std::string message =
        message_of([&] { other = read_gguf_header(LocalFile(scratch / "x.gguf")); });
    if (message.starts_with("wrong kind")) FAIL("bit " << bit << ": " << message);
    if (!message.empty()) continue;
    // Names, dtypes and shapes are what a header says: their bits have no checksum. Ranges hold.
    for (const TensorEntry& tensor : other.tensors) {
      CHECK(tensor.offset >= 0);
      CHECK(tensor.bytes == num_bytes(tensor));
      CHECK(tensor.offset + tensor.bytes <= static_cast<int64_t>(whole.size()));
    }
  }
  CHECK(header.tensors.size() == 2);
}
