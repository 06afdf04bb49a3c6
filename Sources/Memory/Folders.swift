import Foundation

/// Creates `path` and its parents, durably; existing folders are fine.
public func createFolder(_ path: String) throws(MemoryError) { try createFolder(path, files: RealFiles()) }

/// Creates `path` and its parents, durably; existing folders are fine.
package func createFolder(_ path: String, files: any FileOperations) throws(MemoryError) {
  var partial = path.hasPrefix("/") ? "/" : ""
  for component in path.split(separator: "/", omittingEmptySubsequences: true) {
    partial += (partial.isEmpty || partial.hasSuffix("/") ? "" : "/") + component
    let folder = partial
    do {
      try uninterrupted { () throws(MemoryError) in try files.makeFolder(folder) }
      // Without its entry on disk, the files that are committed in it later would be lost with it.
      try synchronizeFolder(of: folder, files: files)
    } catch .system(_, _, let code) where code == EEXIST || code == EISDIR {
      // A file in the way shows itself when something is created under it.
    }
  }
}

/// fsync(2) of the folder that holds `path`, so that creating, renaming and removing it is durable.
package func synchronizeFolder(of path: String, files: any FileOperations) throws(MemoryError) {
  let folder = folder(of: path)
  do {
    try uninterrupted { () throws(MemoryError) in try files.synchronizeFolder(folder) }
  } catch .system("fsync", _, EINVAL) {
    // This file system has no such thing, and nothing else would do.
  }
}

/// The names in a folder, sorted.
package func listFolder(_ path: String, files: any FileOperations = RealFiles()) throws(MemoryError) -> [String] {
  try uninterrupted { () throws(MemoryError) in try files.list(path) }
}

/// The path of the folder that holds `path`.
private func folder(of path: String) -> String { URL(fileURLWithPath: path).deletingLastPathComponent().path }
