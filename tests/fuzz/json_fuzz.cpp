// Configs and indices of shards: small JSON files with typed access.
#include "fuzz/harness.h"
#include "weights/json_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  using namespace t2v;
  fuzz::expect_answer([&] {
    const auto json = weights::JsonFile::parse(fuzz::as_text(input, size), "input");
    for (const std::string& key : json.keys()) {
      (void)json.shown(key);
      fuzz::expect_answer([&] { (void)json.get_int(key, -1000, 1000); });
      fuzz::expect_answer([&] { (void)json.get_double(key, -1e9, 1e9); });
      fuzz::expect_answer([&] { (void)json.get_bool_list(key); });
      fuzz::expect_answer([&] { (void)json.get_int_list(key, 0, 1 << 20); });
      fuzz::expect_answer([&] { (void)json.get_string_list(key); });
      fuzz::expect_answer([&] { (void)json.get_string_map(key); });
      fuzz::expect_answer([&] { (void)json.get_object(key).keys(); });
    }
  });
  return 0;
}
