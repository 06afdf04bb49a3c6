import Foundation

/// The system's words for an error number (strerror).
func errorText(_ errno: Int32) -> String { unsafe String(cString: strerror(errno)) }

private func isReading(_ call: String) -> Bool { call == "open" || call == "opendir" }

func remedy(_ call: String, _ errno: Int32) -> String {
  switch errno {
  case EACCES where isReading(call), EPERM where isReading(call):
    "; you may not read it: change its permissions, or have its owner run this"
  case ENOSPC, EDQUOT: "; free some space or choose another folder, then run the same command again"
  case EACCES, EPERM, EROFS: "; choose a place that you may write, or change its permissions"
  case ENOENT: "; check the path"
  default: ""
  }
}

/// Calls `body` once and turns -1 into an error. `errno` is read in this file alone.
@discardableResult
func check<I: FixedWidthInteger & SignedInteger>(
  _ call: String, _ path: String, _ body: () -> I
) throws(MemoryError) -> I {
  let result = body()
  if result == -1 { throw lastError(call, path) }
  return result
}

func lastError(_ call: String, _ path: String) -> MemoryError { .system(call: call, path: path, errno: errno) }

/// Calls `body` once; nil that comes with an error number is an error, nil without is the end (readdir(3)).
func nextEntry<T>(_ call: String, _ path: String, _ body: () -> T?) throws(MemoryError) -> T? {
  errno = 0
  let result = body()
  if result == nil && errno != 0 { throw lastError(call, path) }
  return result
}
