import Foundation

/// Creates `path` and its parents, durably; existing folders are fine.
public func createFolder(_ path: String) throws(MemoryError) { try createFolder(path, files: RealFiles()) }

/// Creates `path` and its parents, durably; existing folders are fine.
package func createFolder(_ path: String, files: any FileOperations) throws(MemoryError) {
  if try !exists(path, files) {
    try createFolder(folder(of: path), files: files)
    do { try uninterrupted { () throws(MemoryError) in try files.makeFolder(path) } } catch .system(_, _, EEXIST) {
      // Somebody else was faster.
    }
  }
  // Without its entry on disk, the files that are committed in it later would be lost with it. This holds for one that
  // existed too: whoever made it may have been killed before this line. As nobody makes a folder before this is done
  // for its parent, those further up need not be asked.
  do { try synchronizeFolder(of: path, files: files) } catch .system(_, _, EACCES) {
    // The parent is not ours to read, as above homes on many clusters.
  }
}

/// rmdir(2): removes a folder if nothing is in it, and says whether it did.
@discardableResult
package func removeEmptyFolder(_ path: String) -> Bool { unsafe rmdir(path) == 0 }

/// A file counts too; it shows itself when something is created under it.
private func exists(_ path: String, _ files: any FileOperations) throws(MemoryError) -> Bool {
  do { _ = try FileDescriptor(readingFrom: path, files: files) } catch .system(_, _, ENOENT) {
    return false
  } catch .system(_, _, EACCES) {
    // There, and not ours to read.
  }
  return true
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
