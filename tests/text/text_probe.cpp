// For tools/text/compare.py: each line of stdin is the hex of a prompt's bytes; answers with the
// hex of the clean prompt and the token ids. Arguments: MODEL TEXT_LEN [already-clean].
#include <cstdio>
#include <iostream>
#include <string>

#include "text/prompt_clean.h"
#include "text/tokenizer.h"

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const t2v::text::Tokenizer tokenizer(argv[1]);
  const int64_t text_len = std::stoll(argv[2]);
  std::string line, out;
  while (std::getline(std::cin, line)) {
    std::string text;
    for (size_t i = 0; i + 1 < line.size(); i += 2) {
      text += static_cast<char>(std::stoi(line.substr(i, 2), nullptr, 16));
    }
    const std::string clean = argc > 3 ? text : t2v::text::clean_prompt(text);
    out.assign(1, 'x');
    for (const char c : clean) {
      char hex[3];
      std::snprintf(hex, sizeof hex, "%02x", static_cast<unsigned>(static_cast<unsigned char>(c)));
      out += hex;
    }
    for (const int64_t id : tokenizer.encode(clean, text_len).ids) out += ' ' + std::to_string(id);
    std::cout << out << '\n';
  }
}
