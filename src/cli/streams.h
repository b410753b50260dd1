// Writing to standard output and standard error, whatever they are.
#pragma once

#include <string_view>

namespace t2v::cli {

// The result of a command. A reader that has gone away is fine; a full disk is Error{kOutput}.
void write_stdout(std::string_view text);

// Talk. Errors are ignored: there is nowhere to report them.
void write_stderr(std::string_view text) noexcept;

bool stderr_is_terminal() noexcept;
bool stdout_is_terminal() noexcept;

// Columns of the terminal on standard error; 80 when unknown.
int terminal_columns() noexcept;

}  // namespace t2v::cli
