// --block-list: words and regular expressions that a prompt may not hold.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "t2v/request.h"

namespace t2v::cli {

// docs/safety.md has the rules. What is found is told by the line of the list, never by its words:
// logs and results of a batch are read by more people than the list is.
class BlockList {
 public:
  struct Match {
    size_t line = 0;  // of the list, from 1
  };

  // path: UTF-8, an entry a line. Throws Error{kInput} naming the lines that are no entries.
  static BlockList read(const std::string& path);

  BlockList(BlockList&&) noexcept;
  BlockList& operator=(BlockList&&) noexcept;
  ~BlockList();

  // text: UTF-8. The entry of the lowest line. Takes time linear in the text; any thread.
  [[nodiscard]] std::optional<Match> find(const std::string& text) const;

  // Why no video may be made of this: its prompt and the texts of --prompt-at (not the negative
  // prompt: that says what the video shall not show). A message for Error{kInput} without a place.
  [[nodiscard]] std::optional<std::string> refusal_of(const Request& request) const;

  [[nodiscard]] size_t num_entries() const noexcept;

 private:
  struct Entries;
  explicit BlockList(std::unique_ptr<Entries> entries);
  std::unique_ptr<Entries> entries_;
};

}  // namespace t2v::cli
