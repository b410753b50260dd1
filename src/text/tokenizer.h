// Clean prompt -> token ids, as the Hugging Face T5 tokenizer of Wan makes them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace t2v::text {

struct TokenIds {
  std::vector<int64_t> ids;  // ends with eos_id(); not padded; never empty
  bool truncated = false;    // the prompt had more tokens than text_len allows
};

// Safe to use from several threads once made.
class Tokenizer {
 public:
  // Reads a SentencePiece model file (spiece.model). The number of `<extra_id_N>` tokens past the
  // vocabulary comes from `num_extra_ids`, else from tokenizer_config.json in the same folder, else
  // it is T5's 100. Throws Error{kModel}, which names the file.
  explicit Tokenizer(const std::string& model_path,
                     std::optional<int64_t> num_extra_ids = std::nullopt);
  // From a file's content, with the text of its tokenizer_config.json ("" for none); name is for
  // messages.
  static Tokenizer from_bytes(std::string bytes, const std::string& name,
                              std::string_view config = {},
                              std::optional<int64_t> num_extra_ids = std::nullopt);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  // `clean` is what clean_prompt returns. At most text_len ids (text_len >= 1): a longer prompt is
  // cut and keeps eos_id() as its last. Special tokens spelled out in the text (`</s>`, `<pad>`,
  // `<extra_id_0>`) become their ids; spaces beside them vanish.
  [[nodiscard]] TokenIds encode(std::string_view clean, int64_t text_len) const;

  [[nodiscard]] int64_t pad_id() const noexcept { return pad_id_; }
  [[nodiscard]] int64_t eos_id() const noexcept { return eos_id_; }
  [[nodiscard]] int64_t unk_id() const noexcept { return unk_id_; }
  // Every id is below this: the pieces of the file and the extra ids after them.
  [[nodiscard]] int64_t vocab_size() const noexcept { return num_pieces_ + num_extra_ids_; }

 private:
  struct Model;
  Tokenizer(std::unique_ptr<Model> model, std::optional<int64_t> num_extra_ids,
            const std::string& name);
  struct Special {
    int64_t id;
    size_t length;  // in bytes
  };
  [[nodiscard]] std::optional<Special> special_at(std::string_view text) const;
  void encode_plain(std::string_view text, std::vector<int64_t>& ids) const;

  std::unique_ptr<Model> model_;
  int64_t pad_id_ = 0, eos_id_ = 0, unk_id_ = 0;
  int64_t num_pieces_ = 0, num_extra_ids_ = 0;
};

// vocab_size() of the tokenizer that from_bytes would make, in a fraction of the time.
int64_t count_vocabulary(std::string bytes, const std::string& name, std::string_view config,
                         std::optional<int64_t> num_extra_ids);

}  // namespace t2v::text
