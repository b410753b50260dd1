// Ctrl-C and friends: the first signal asks the work to stop, a second one, half a second
// later or more, ends the program at once.
#pragma once

#include "t2v/progress.h"

namespace t2v::cli {

// The token that SIGINT, SIGTERM and SIGHUP set. There is one, for signal handlers can have no
// owner.
const CancelToken& cancel_token() noexcept;

// Installs the handlers (an ignored SIGHUP stays ignored, as nohup wants), ignores SIGPIPE and
// SIGXFSZ so that writes report errors, and gives closed standard streams a place to go
// (/dev/null), so that no file of ours gets their numbers.
void prepare_process() noexcept;

// The signal that came first; 0 = none.
int caught_signal() noexcept;

// Throws Error{kCancelled} after a signal.
void throw_if_interrupted();

}  // namespace t2v::cli
