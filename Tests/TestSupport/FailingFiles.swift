import Foundation
import Memory
import Synchronization

/// File operations of which one call fails, or all from one on.
///
/// A test counts the calls of an undisturbed run (`nCalls`), then runs once for every call with a fault there. A call
/// that fails does nothing, but for `close`, which closes in any case.
package final class FailingFiles: FileOperations {
  package enum Call: CaseIterable, Sendable {
    case create, open, write, read, size, synchronize, close, rename, link, unlink, makeFolder, synchronizeFolder, list

    /// Those that a full disk may refuse.
    package static let takingSpace: [Call] = [
      .create, .write, .synchronize, .close, .rename, .link, .makeFolder, .synchronizeFolder,
    ]

    /// The system call, as the real operations name it in their errors.
    var name: String {
      switch self {
      case .create: "create"
      case .open: "open"
      case .write: "write"
      case .read: "pread"
      case .size: "fstat"
      case .synchronize, .synchronizeFolder: "fsync"
      case .close: "close"
      case .rename: "rename"
      case .link: "link"
      case .unlink: "unlink"
      case .makeFolder: "mkdir"
      case .list: "opendir"
      }
    }
  }

  package enum Fault: Equatable, Sendable {
    /// The call reports this error number. From then on, EINTR hits every other call: no program gets on if all are
    /// interrupted.
    case error(Int32)
    /// A write or read moves half of what was asked for, at least one byte. Other calls do as ever.
    case short
    /// An fsync, of file or folder, reports success and does nothing: a disk that lies, a protocol with a step left
    /// out. Other calls do as ever.
    case lie
  }

  private struct State {
    var nCalls = 0
    var failed: Set<Call> = []
    var dead: Set<String> = []
    var violations: [String] = []
  }

  private let files: any FileOperations
  private let first: Int
  private let fault: Fault
  private let isLasting: Bool
  private let calls: Set<Call>
  private let state = Mutex(State())

  /// - Parameters:
  ///   - first: number of the call that fails, from 0; none by default.
  ///   - isLasting: whether all later calls fail too.
  ///   - calls: the kinds of calls that are counted and may fail.
  ///   - files: what makes the calls.
  package init(
    at first: Int = .max, _ fault: Fault = .error(EIO), isLasting: Bool = false, calls: [Call] = Call.allCases,
    over files: any FileOperations = RealFiles()
  ) {
    self.files = files
    self.first = first
    self.fault = fault
    self.isLasting = isLasting
    self.calls = Set(calls)
  }

  /// Calls seen so far, of the kinds that are counted.
  package var nCalls: Int { state.withLock { $0.nCalls } }

  /// Kinds of calls that have reported an error of this fault. Empty if the fault never struck with an error.
  package var failed: Set<Call> { state.withLock { $0.failed } }

  /// What was done with a file after its fsync failed: written, synchronized, renamed or linked. Always wrong, as its
  /// bytes may be lost whatever a second fsync says.
  package var violations: [String] { state.withLock { $0.violations } }

  /// Counts a call. Throws if it fails; returns whether it is hit by a fault that is no error.
  private func meet(_ call: Call, _ path: String, file: String? = nil) throws(MemoryError) -> Bool {
    let (isHit, error) = state.withLock { state -> (Bool, MemoryError?) in
      if let file, state.dead.contains(file), [.write, .synchronize, .rename, .link].contains(call) {
        state.violations.append("\(call.name) of \(file)")
      }
      guard calls.contains(call) else { return (false, nil) }
      let number = state.nCalls
      state.nCalls += 1
      guard number == first || (isLasting && number > first) else { return (false, nil) }
      guard case .error(let code) = fault else { return (true, nil) }
      if code == EINTR {
        if !(number - first).isMultiple(of: 2) { return (false, nil) }
      } else {
        if call == .synchronize, let file { state.dead.insert(file) }
      }
      state.failed.insert(call)
      return (true, .system(call: call.name, path: path, errno: code))
    }
    if let error { throw error }
    return isHit
  }

  package func create(_ path: String) throws(MemoryError) -> OpenFile {
    _ = try meet(.create, path)
    return try files.create(path)
  }

  package func open(_ path: String) throws(MemoryError) -> OpenFile {
    _ = try meet(.open, path)
    return try files.open(path)
  }

  package func write(_ bytes: RawSpan, to file: OpenFile) throws(MemoryError) -> Int {
    let isShort = try meet(.write, file.path, file: file.path) && fault == .short
    return try files.write(isShort ? bytes.extracting(first: max(1, bytes.byteCount / 2)) : bytes, to: file)
  }

  package func read(_ file: OpenFile, at offset: Int, upTo count: Int) throws(MemoryError) -> [UInt8] {
    let isShort = try meet(.read, file.path) && fault == .short
    return try files.read(file, at: offset, upTo: isShort ? min(count, max(1, count / 2)) : count)
  }

  package func size(of file: OpenFile) throws(MemoryError) -> Int {
    _ = try meet(.size, file.path)
    return try files.size(of: file)
  }

  package func synchronize(_ file: OpenFile) throws(MemoryError) {
    if try meet(.synchronize, file.path, file: file.path), fault == .lie { return }
    try files.synchronize(file)
  }

  package func close(_ file: OpenFile) throws(MemoryError) {
    do { _ = try meet(.close, file.path) } catch {
      try files.close(file)
      throw error
    }
    try files.close(file)
  }

  package func rename(_ old: String, to new: String) throws(MemoryError) {
    _ = try meet(.rename, new, file: old)
    try files.rename(old, to: new)
  }

  package func link(_ old: String, to new: String) throws(MemoryError) {
    _ = try meet(.link, new, file: old)
    try files.link(old, to: new)
  }

  package func unlink(_ path: String) throws(MemoryError) {
    _ = try meet(.unlink, path)
    try files.unlink(path)
  }

  package func makeFolder(_ path: String) throws(MemoryError) {
    _ = try meet(.makeFolder, path)
    try files.makeFolder(path)
  }

  package func synchronizeFolder(_ path: String) throws(MemoryError) {
    if try meet(.synchronizeFolder, path), fault == .lie { return }
    try files.synchronizeFolder(path)
  }

  package func list(_ folder: String) throws(MemoryError) -> [String] {
    _ = try meet(.list, folder)
    return try files.list(folder)
  }
}
