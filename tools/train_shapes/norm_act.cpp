// Channel RMS normalisation with optional SiLU over bfloat16 rows, forward and backward, for training the VAE.
// Built into the work folder by vae.py; its twin in plain PyTorch is vae.norm_act_reference.
#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

float widen(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

uint16_t narrow(float value) {  // round to nearest even; NaN is not handled
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

template <int C>
float read_row(const uint16_t* row, float* values) {  // returns 1 / norm
  float sum = 0;
  for (int c = 0; c < C; c++) {
    values[c] = widen(row[c]);
    sum += values[c] * values[c];
  }
  return 1.f / std::sqrt(sum > 1e-24f ? sum : 1e-24f);
}

template <int C>
void forward(const uint16_t* x, const float* gamma, uint16_t* y, long rows, bool silu) {
  float gain[C], values[C];
  for (int c = 0; c < C; c++) gain[c] = gamma[c] * std::sqrt(static_cast<float>(C));
  for (long row = 0; row < rows; row++) {
    const float inverse = read_row<C>(x + row * C, values);
    for (int c = 0; c < C; c++) {
      float t = values[c] * inverse * gain[c];
      if (silu) t = t / (1.f + std::exp(-t));
      y[row * C + c] = narrow(t);
    }
  }
}

template <int C>
void backward(const uint16_t* x, const float* gamma, const uint16_t* dy, uint16_t* dx, float* dgamma, long rows,
              bool silu) {
  const float root = std::sqrt(static_cast<float>(C));
  float gain[C], values[C], grad[C], sums[C];
  for (int c = 0; c < C; c++) gain[c] = gamma[c] * root, sums[c] = 0;
  for (long row = 0; row < rows; row++) {
    const float inverse = read_row<C>(x + row * C, values);
    float dot = 0;
    for (int c = 0; c < C; c++) {
      const float unit = values[c] * inverse, t = unit * gain[c];
      float d = widen(dy[row * C + c]);
      if (silu) {
        const float s = 1.f / (1.f + std::exp(-t));
        d *= s * (1.f + t * (1.f - s));
      }
      sums[c] += d * unit;
      grad[c] = d * gain[c];
      values[c] = unit;
      dot += grad[c] * unit;
    }
    for (int c = 0; c < C; c++) dx[row * C + c] = narrow(inverse * (grad[c] - values[c] * dot));
  }
  for (int c = 0; c < C; c++) dgamma[c] = sums[c] * root;
}

}  // namespace

extern "C" bool norm_act_forward(const uint16_t* x, const float* gamma, uint16_t* y, long rows, int width, bool silu) {
  switch (width) {
    case 8: forward<8>(x, gamma, y, rows, silu); return true;
    case 16: forward<16>(x, gamma, y, rows, silu); return true;
    case 32: forward<32>(x, gamma, y, rows, silu); return true;
    case 64: forward<64>(x, gamma, y, rows, silu); return true;
    default: return false;
  }
}

extern "C" bool norm_act_backward(const uint16_t* x, const float* gamma, const uint16_t* dy, uint16_t* dx,
                                  float* dgamma, long rows, int width, bool silu) {
  switch (width) {
    case 8: backward<8>(x, gamma, dy, dx, dgamma, rows, silu); return true;
    case 16: backward<16>(x, gamma, dy, dx, dgamma, rows, silu); return true;
    case 32: backward<32>(x, gamma, dy, dx, dgamma, rows, silu); return true;
    case 64: backward<64>(x, gamma, dy, dx, dgamma, rows, silu); return true;
    default: return false;
  }
}
