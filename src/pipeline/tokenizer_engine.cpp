#include "pipeline/tokenizer_engine.h"

#include <utility>

#include "t2v/error.h"
#include "text/prompt_clean.h"
#include "text/tokenizer.h"

namespace t2v::pipeline {
namespace {

constexpr int64_t kTextLen = 512;  // Wan's own padded prompt length

[[noreturn]] void refuse() {
  throw Error(ErrorKind::kUsage,
              "no model: a tokenizer alone can only tokenize (--tokenizer); try --model");
}

class TokenizerEngine final : public Engine {
 public:
  explicit TokenizerEngine(const std::string& path) : tokenizer_(path) {}

  void write_trace(const std::string&) override { refuse(); }
  Report calibrate_step_cache(const Recipe&, const std::string&, ProgressListener&,
                              const CancelToken&) override {
    refuse();
  }
  Report encode(FrameSource&, const std::string&, ProgressListener&, const CancelToken&) override {
    refuse();
  }
  TokenizedPrompt tokenize(const std::string& prompt) const override {
    TokenizedPrompt result{
        .text = prompt, .clean = text::clean_prompt(prompt), .ids = {}, .truncated = false};
    text::TokenIds encoded = tokenizer_.encode(result.clean, kTextLen);
    result.ids = std::move(encoded.ids);
    result.truncated = encoded.truncated;
    return result;
  }

  Recipe resolve(const Request&) const override { refuse(); }
  std::string recipe_json(const Recipe&) const override { refuse(); }
  ResolvedSettings plan(const Recipe&) const override { refuse(); }
  void generate_all(const std::vector<BatchItem>&, BatchHost&, ProgressListener&,
                    const CancelToken&) override {
    refuse();
  }
  Report decode(const std::string&, double, FrameSink&, ProgressListener&,
                const CancelToken&) override {
    refuse();
  }
  std::vector<std::pair<std::string, ResolvedSettings>> presets() const override { refuse(); }

 private:
  text::Tokenizer tokenizer_;
};

}  // namespace

std::unique_ptr<Engine> open_tokenizer_engine(const std::string& tokenizer_path) {
  return std::make_unique<TokenizerEngine>(tokenizer_path);
}

}  // namespace t2v::pipeline
