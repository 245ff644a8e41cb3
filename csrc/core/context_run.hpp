// Drives one model, or two side by side, through all groups of a chunk.
#pragma once

#include <algorithm>
#include <cstddef>

#include "core/context_model.hpp"

namespace ternzip::context {

// Codes the group that `model` is at.
template <Shape kShape, class M>
void code_group(M& model) {
  typename M::template Flight<kShape> a(model);
  if (model.interleaves()) {
    for (std::size_t k = 0; k < model.size(); ++k) a.weight(k);
    a.land();
    model.learn();
    return;
  }
  if (model.all_nonzero()) {
    a.all_flags();
  } else {
    for (std::size_t k = 0; k < model.size(); ++k) a.flag(k);
    a.find();
  }
  if (model.one_sign()) {
    a.same_signs();
  } else {
    model.compare(a.count);
    for (std::size_t n = 0; n < a.count; ++n) a.sign(n);
  }
  a.land();
  model.learn();
}

// The same for two models at once: their chains of dependent instructions overlap in the processor.
template <Shape kShape, class M>
void code_groups(M& first, M& second) {
  typename M::template Flight<kShape> a(first), b(second);
  const std::size_t both = std::min(first.size(), second.size());
  for (std::size_t k = 0; k < both; ++k) {
    a.flag(k);
    b.flag(k);
  }
  for (std::size_t k = both; k < first.size(); ++k) a.flag(k);
  for (std::size_t k = both; k < second.size(); ++k) b.flag(k);
  a.find();
  b.find();
  first.compare(a.count);
  second.compare(b.count);
  const std::size_t signs = std::min(a.count, b.count);
  for (std::size_t n = 0; n < signs; ++n) {
    a.sign(n);
    b.sign(n);
  }
  for (std::size_t n = signs; n < a.count; ++n) a.sign(n);
  for (std::size_t n = signs; n < b.count; ++n) b.sign(n);
  a.land();
  b.land();
  first.learn();
  second.learn();
}

template <class M>
void code_group(M& model) {
  switch (model.shape()) {
    case Shape::kTree: return code_group<Shape::kTree>(model);
    case Shape::kPlane: return code_group<Shape::kPlane>(model);
    case Shape::kLine: return code_group<Shape::kLine>(model);
  }
}

template <class M>
void run(M& model) {
  while (model.next()) code_group(model);
}

// Two models of the same shape in which all three symbols occur.
template <class M>
void run(M& first, M& second) {
  bool more_first = first.next(), more_second = second.next();
  while (more_first && more_second) {
    switch (first.shape()) {
      case Shape::kTree: code_groups<Shape::kTree>(first, second); break;
      case Shape::kPlane: code_groups<Shape::kPlane>(first, second); break;
      case Shape::kLine: code_groups<Shape::kLine>(first, second); break;
    }
    more_first = first.next();
    more_second = second.next();
  }
  for (; more_first; more_first = first.next()) code_group(first);
  for (; more_second; more_second = second.next()) code_group(second);
}

}  // namespace ternzip::context
