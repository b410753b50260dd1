#include "cli/numbers.h"

#include <catch2/catch.hpp>
#include <limits>

namespace t2v::cli {
namespace {

TEST_CASE("whole numbers are parsed whole") {
  CHECK(parse_int64("17") == 17);
  CHECK(parse_int64("-3") == -3);
  CHECK(parse_uint64("18446744073709551615") == std::numeric_limits<uint64_t>::max());
  for (const char* text :
       {"", " 1", "1 ", "+1", "0x10", "1.0", "1e3", "nan", "--1", "18446744073709551616", "٣"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_uint64(text));
    CHECK_FALSE(parse_int64(text));
  }
  CHECK_FALSE(parse_uint64("-1"));
  CHECK_FALSE(parse_int64("9223372036854775808"));
}

TEST_CASE("real numbers are finite") {
  CHECK(parse_finite("0.875") == 0.875);
  CHECK(parse_finite("-2.5e1") == -25.0);
  for (const char* text : {"", "nan", "NaN", "inf", "-inf", "infinity", "1e400", "-1e400", "1,5",
                           "0x1p3", "1.5x", "1..5", "+1"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_finite(text));
  }
}

TEST_CASE("sizes have two sides or a name") {
  for (const char* text : {"1280x720", "1280*720", "1280X720", "1280×720", "720p"}) {
    CAPTURE(text);
    const auto size = parse_size(text);
    REQUIRE(size);
    CHECK(size->width == 1280);
    CHECK(size->height == 720);
  }
  CHECK(parse_size("480p")->width == 832);
  for (const char* text : {"", "x", "832", "832x", "x480", "832x480foo", "832x480x3", "-832x480",
                           "0x480", "832 x 480", "1e3x480", "1080p", "99999999999x16"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_size(text));
  }
}

TEST_CASE("sizes of memory") {
  constexpr int64_t kGiB = 1 << 30;
  CHECK(parse_bytes("12GiB") == 12 * kGiB);
  CHECK(parse_bytes("12G") == 12 * kGiB);
  CHECK(parse_bytes("12gib") == 12 * kGiB);
  CHECK(parse_bytes("12GB") == 12000000000);
  CHECK(parse_bytes("0.5TiB") == 512 * kGiB);
  CHECK(parse_bytes("3K") == 3072);
  CHECK(parse_bytes("500MB") == 500000000);
  CHECK(parse_bytes("17") == 17);
  CHECK(parse_bytes("17B") == 17);
  CHECK(parse_bytes("9223372036854775807") == std::numeric_limits<int64_t>::max());
  for (const char* text : {"",           "0",       "0GiB",       "-1",
                           "-1GiB",      "GiB",     "1.5",        "1e3",
                           "1e3GiB",     "nan",     "inf",        "12 GiB",
                           "12X",        "12GiBs",  "12iB",       "9223372036854775808",
                           "8388608TiB", "0.0001B", "0.0000001K", "1..2G",
                           "12Gi"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_bytes(text));
  }
}

}  // namespace
}  // namespace t2v::cli
