import Foundation

/// The system's words for an error number (strerror).
func errorText(_ errno: Int32) -> String { unsafe String(cString: strerror(errno)) }

func remedy(_ errno: Int32) -> String {
  switch errno {
  case ENOSPC: "; free some space or choose another folder, then run the same command again"
  case EACCES, EPERM, EROFS: "; choose a place that you may write, or change its permissions"
  case ENOENT: "; check the path"
  default: ""
  }
}

/// Calls `body`, again after EINTR, and turns -1 into an error. The one place that reads `errno`.
@discardableResult
func check<I: FixedWidthInteger & SignedInteger>(
  _ call: String, _ path: String, _ body: () -> I
) throws(MemoryError) -> I {
  while true {
    let result = body()
    if result != -1 { return result }
    if errno != EINTR { throw lastError(call, path) }
  }
}

func lastError(_ call: String, _ path: String) -> MemoryError { .system(call: call, path: path, errno: errno) }
