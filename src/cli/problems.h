// Collects what is wrong with a command line, so that all of it is told at once.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "t2v/error.h"

namespace t2v::cli {

class Problems {
 public:
  // One problem in the form `what: why (where)[; try ...]`; control bytes are escaped when printed.
  void add(std::string problem);
  void add_all(const Problems& others);
  [[nodiscard]] bool empty() const noexcept { return problems_.empty(); }
  // Throws Error{kind} with all problems in one line; does nothing when there are none.
  void throw_if_any(ErrorKind kind = ErrorKind::kUsage) const;

 private:
  std::vector<std::string> problems_;
  size_t num_others_ = 0;  // that came when there were enough
};

// 'text', shortened to what fits into a message.
std::string quoted(const std::string& text);

}  // namespace t2v::cli
