import Foundation
import Memory

/// A folder for what is written only to be measured; removed with the value.
package final class ScratchFolder: Sendable {
  package let path: String

  /// - Parameter parent: an existing folder on the disk that is to be measured.
  /// - Throws: `MemoryError` if nothing can be created there.
  package init(in parent: String) throws {
    let name = ".actcache-measure-\(String(UInt64.random(in: 0 ... .max), radix: 36))"
    path = (parent.isEmpty ? "." : parent) + "/" + name
    try createFolder(path)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// Bytes that are free on its disk; nil if the system does not say.
  package var freeBytes: Int? {
    let attributes = try? FileManager.default.attributesOfFileSystem(forPath: path)
    return (attributes?[.systemFreeSize] as? NSNumber)?.intValue
  }
}
