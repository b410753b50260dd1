#include "models/spec.h"

#include <catch2/catch.hpp>
#include <cstdio>
#include <fstream>

#include "models/tiny_fixture.h"
#include "t2v/error.h"

using namespace t2v;

namespace {

// The good config with one key replaced.
std::string with_key(const std::string& good_path, const std::string& key,
                     const std::string& value) {
  std::ifstream in(good_path);
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  const size_t at = text.find("\"" + key + "\"");
  REQUIRE(at != std::string::npos);
  const size_t colon = text.find(':', at);
  size_t end = text.find_first_of(",}\n", colon);
  if (text.find('[', colon) < end) end = text.find(']', colon) + 1;
  text.replace(colon + 1, end - colon - 1, value);
  const std::string path = std::string(T2V_BINARY_DIR) + "/tests/spec_test.json";
  std::ofstream(path) << text;
  return path;
}

template <typename Read>
void check_refused(const std::string& path, const std::string& key, const Read& read) {
  INFO(key);
  try {
    static_cast<void>(read(path));
    FAIL("accepted");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kModel);
    CHECK_THAT(error.what(), Catch::Matchers::Contains(key));
  }
}

}  // namespace

TEST_CASE("impossible transformer configs are refused, naming the key") {
  const std::string good = testing::tiny_path("transformer/config.json");
  REQUIRE_NOTHROW(models::read_transformer_spec(good));
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, std::string>>{{"num_attention_heads", "0"},
                                                        {"num_attention_heads", "-3"},
                                                        {"attention_head_dim", "7"},
                                                        {"attention_head_dim", "\"64\""},
                                                        {"ffn_dim", "1e18"},
                                                        {"num_layers", "2.5"},
                                                        {"num_layers", "100000000"},
                                                        {"text_dim", "null"},
                                                        {"freq_dim", "33"},
                                                        {"patch_size", "[2, 2, 2]"},
                                                        {"patch_size", "[1, 2]"},
                                                        {"patch_size", "4"},
                                                        {"eps", "0.5"},
                                                        {"qk_norm", "\"layer_norm\""}}) {
    check_refused(with_key(good, key, value), key, models::read_transformer_spec);
  }
}

TEST_CASE("impossible text encoder configs are refused, naming the key") {
  const std::string good = testing::tiny_path("text_encoder/config.json");
  REQUIRE_NOTHROW(models::read_text_encoder_spec(good));
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, std::string>>{{"model_type", "\"bert\""},
                                                        {"vocab_size", "0"},
                                                        {"d_model", "-1"},
                                                        {"num_heads", "true"},
                                                        {"relative_attention_num_buckets", "6"},
                                                        {"relative_attention_max_distance", "8"},
                                                        {"feed_forward_proj", "\"relu\""}}) {
    check_refused(with_key(good, key, value), key, models::read_text_encoder_spec);
  }
}
