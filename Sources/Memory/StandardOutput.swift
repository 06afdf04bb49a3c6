import Foundation

/// Writes out what `print` has collected, which itself reports no error.
///
/// - Throws: `MemoryError.system` for "standard output" if that fails, for instance on a full disk.
package func flushStandardOutput() throws(MemoryError) {
  try check("write", "standard output") { fflush(nil) }
}
