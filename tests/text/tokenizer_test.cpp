// Token ids against the Hugging Face T5 tokenizer and SentencePiece (golden files).
#include "text/tokenizer.h"

#include <catch2/catch.hpp>
#include <filesystem>

#include "golden.h"
#include "text/prompt_clean.h"

namespace t2v::text {
namespace {

constexpr int64_t kGoldenTextLen = 48;  // TEXT_LEN of tools/text/make_golden.py
const std::string kFolder = T2V_FIXTURES "/text/";
const std::string kUmt5 = T2V_SOURCE_DIR "/models/tokenizers/umt5-xxl/spiece.model";

using Ids = std::vector<int64_t>;

TEST_CASE("the real UMT5 tokenizer: all golden prompts, from raw text to ids") {
  const Tokenizer tokenizer(kUmt5);
  CHECK(tokenizer.pad_id() == 0);
  CHECK(tokenizer.eos_id() == 1);
  CHECK(tokenizer.unk_id() == 3);
  CHECK(tokenizer.vocab_size() == 256100);
  const auto rows = test::read_golden("umt5/golden_ids.jsonl");
  REQUIRE(rows.size() == 736);
  for (const auto& row : rows) {
    const TokenIds got = tokenizer.encode(clean_prompt(row.strings.at("text")), 512);
    CAPTURE(row.strings.at("text"));
    CHECK(got.ids == row.lists.at("ids"));
    CHECK_FALSE(got.truncated);
  }
}

TEST_CASE("golden strings of many kinds, three tokenizers") {
  const auto rows = test::read_golden("golden.jsonl");
  const std::string name = GENERATE("umt5", "nfkc", "fold");
  const Tokenizer tokenizer(name == "umt5" ? kUmt5 : kFolder + name + "/spiece.model");
  size_t compared = 0;
  for (const auto& row : rows) {
    const auto expected = row.lists.find(name);
    if (expected == row.lists.end()) continue;
    ++compared;
    CAPTURE(name, row.strings.at("clean"));
    CHECK(tokenizer.encode(row.strings.at("clean"), kGoldenTextLen).ids == expected->second);
  }
  CHECK(compared > (name == "fold" ? 40u : 700u));
}

TEST_CASE("the normalizer of the model folds case") {
  const Tokenizer tokenizer(kFolder + "fold/spiece.model");
  CHECK(tokenizer.encode("A RED Circle", 64).ids == tokenizer.encode("a red circle", 64).ids);
}

TEST_CASE("special tokens in the text become their ids") {
  const Tokenizer tokenizer(kFolder + "nfkc/spiece.model");
  CHECK(tokenizer.vocab_size() == 582);
  CHECK(tokenizer.encode("a <pad> b", 64).ids == Ids{10, 0, 34, 1});
  CHECK(tokenizer.encode("a<extra_id_0>b", 64).ids == Ids{10, 581, 34, 1});
  CHECK(tokenizer.encode("a <unk> </s>x", 64).ids == Ids{10, 2, 1, 4, 134, 1});
  CHECK(tokenizer.encode("<s> a", 64).ids == Ids{4, 406, 5, 407, 10, 1});
  CHECK(tokenizer.encode("<extra_id_7> hi", 64).ids == Ids{574, 4, 179, 1});
  CHECK(tokenizer.encode("<extra_id_99>", 64).ids == Ids{482, 1});
  CHECK(tokenizer.encode("<extra_id_100>", 64).ids.front() == 4);
  CHECK(tokenizer.encode("<extra_id_07>", 64).ids.front() == 4);
}

TEST_CASE("the number of extra ids: argument, config beside the model, T5's default") {
  CHECK(Tokenizer(kFolder + "fold/spiece.model").vocab_size() == 602);  // config: 0
  CHECK(Tokenizer(kFolder + "fold/spiece.model", 7).vocab_size() == 609);
  CHECK(Tokenizer(kUmt5).vocab_size() == 256100);  // no config
  CHECK(Tokenizer(kUmt5, 300).encode("<extra_id_0>", 9).ids == Ids{256299, 1});
  CHECK_THROWS(Tokenizer(kUmt5, -1));
}

TEST_CASE("a prompt that is too long is cut and keeps its end token") {
  const Tokenizer tokenizer(kFolder + "nfkc/spiece.model");
  const Ids whole = tokenizer.encode("a <pad> b a b", 64).ids;
  const auto count = static_cast<int64_t>(whole.size());
  CHECK_FALSE(tokenizer.encode("a <pad> b a b", count).truncated);
  for (int64_t text_len = 1; text_len < count; ++text_len) {
    const TokenIds cut = tokenizer.encode("a <pad> b a b", text_len);
    CHECK(cut.truncated);
    Ids expected(whole.begin(), whole.begin() + text_len - 1);
    expected.push_back(tokenizer.eos_id());
    CHECK(cut.ids == expected);
  }
  CHECK_THROWS(tokenizer.encode("a", 0));
}

TEST_CASE("no text is the end token alone") {
  const Tokenizer tokenizer(kUmt5);
  CHECK(tokenizer.encode("", 512).ids == Ids{1});
  CHECK(tokenizer.encode("  ", 512).ids == Ids{1});
}

TEST_CASE("a megabyte of text is encoded") {
  const Tokenizer tokenizer(kUmt5);
  std::string text;
  while (text.size() < (1u << 20)) text += GENERATE(as<std::string>(), "a red circle ", "猫", "<");
  const TokenIds got = tokenizer.encode(text, 512);
  CHECK(got.truncated);
  CHECK(got.ids.size() == 512);
}

}  // namespace
}  // namespace t2v::text
