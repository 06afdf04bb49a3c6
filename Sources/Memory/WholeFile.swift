/// All bytes of a small file. Throws `MemoryError.format` if it has more than `limit`.
package func readFile(
  _ path: String, atMost limit: Int, files: any FileOperations = RealFiles()
) throws(MemoryError) -> [UInt8] {
  let file = try FileDescriptor(readingFrom: path, files: files)
  let size = try file.size()
  guard size <= limit else { throw .format(path: path, "it has \(size) bytes, at most \(limit) are allowed") }
  return try file.read(at: 0, count: size)
}

/// unlink(2); a file that is not there is an error.
package func removeFile(_ path: String, files: any FileOperations = RealFiles()) throws(MemoryError) {
  try uninterrupted { () throws(MemoryError) in try files.unlink(path) }
}

/// rename(2), durable; a file that has the new name is replaced.
package func moveFile(_ old: String, to new: String, files: any FileOperations = RealFiles()) throws(MemoryError) {
  try uninterrupted { () throws(MemoryError) in try files.rename(old, to: new) }
  try synchronizeFolder(of: new, files: files)
}
