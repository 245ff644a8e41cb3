#pragma once

#include <pybind11/pybind11.h>

namespace ternzip::bindings {

// Lets other Python threads run while it lives; in it, no Python object may be touched.
//
// Unlike pybind11's, its destructor may throw: when the interpreter is ending, taking the GIL back ends a
// daemon thread, for which the C library unwinds its stack (pthread_exit), and an unwinding that meets a
// destructor that does not throw ends the whole process.
class ReleasedGil {
 public:
  ReleasedGil() : state_(PyEval_SaveThread()) {}
  // NOLINTNEXTLINE(bugprone-unsafe-to-allow-exceptions): see above
  ~ReleasedGil() noexcept(false) { PyEval_RestoreThread(state_); }
  ReleasedGil(const ReleasedGil&) = delete;
  ReleasedGil& operator=(const ReleasedGil&) = delete;

 private:
  PyThreadState* state_;
};

}  // namespace ternzip::bindings
