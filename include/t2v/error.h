// The one exception type of t2v: a kind (which decides the exit code) and a one-line message.
#pragma once

#include <stdexcept>
#include <string>

namespace t2v {

enum class ErrorKind {
  kInternal,     // our bug                                   exit 1
  kUsage,        // flags, sizes, values                      exit 2
  kModel,        // absent, broken or unexpected model files  exit 3
  kInput,        // prompt, image, prompt file                exit 4
  kOutput,       // encoder, muxer, disk                      exit 5
  kOutOfMemory,  // host or device                            exit 6
  kDevice,       // CUDA, driver                              exit 7
  kRemote,       // object store; worth a retry               exit 8
  kTimeout,      // --timeout                                 exit 9, as failures of a batch
  kNumeric,      // NaN or black frames                       exit 10
  kCancelled,    // user                                      exit 130, 143
};

// Message form: `what: why (where)[; try ...]`, one line, without the program's name.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ~Error() override;
  [[nodiscard]] ErrorKind kind() const noexcept { return kind_; }

 private:
  ErrorKind kind_;
};

}  // namespace t2v
