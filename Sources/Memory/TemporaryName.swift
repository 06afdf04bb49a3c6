import Foundation

/// The name of a file that is still being written: `.<name>.tmp.<host>.<pid>.<random>`, beside where it will be.
///
/// Host and process are in it so that, on a file system that many machines share, whoever clears away what killed
/// processes left can tell which are its own to judge.
package struct TemporaryName: Equatable {
  /// Name of the file that it will become.
  package let name: String
  package let host: String
  package let pid: Int32
  private let random: String

  /// A new one of this process.
  package init(for name: String) {
    self.name = name
    host = TemporaryName.thisHost
    pid = getpid()
    random = String(UInt64.random(in: 0 ... .max), radix: 36)
  }

  /// nil if `fileName` is not of this form.
  package init?(parsing fileName: String) {
    guard fileName.hasPrefix("."), let mark = fileName.range(of: ".tmp.", options: .backwards),
      mark.lowerBound > fileName.startIndex
    else { return nil }
    // A host name may have dots in it.
    let parts = fileName[mark.upperBound...].split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count >= 3, let pid = Int32(parts[parts.count - 2]), pid > 0, let random = parts.last, !random.isEmpty
    else { return nil }
    name = String(fileName[fileName.index(after: fileName.startIndex)..<mark.lowerBound])
    host = parts.dropLast(2).joined(separator: ".")
    self.pid = pid
    self.random = String(random)
  }

  package var fileName: String { ".\(name).tmp.\(host).\(pid).\(random)" }

  /// Whether its process is known to have ended: it ran on this host, and no process here has its id (kill(2)).
  ///
  /// False says nothing: the id may have been given to another process. And two containers can share a host name
  /// without seeing each other's processes, so true is no more than a reason to look at the file's age.
  package var ownerIsGone: Bool {
    guard host == TemporaryName.thisHost else { return false }
    do { try check("kill", fileName) { kill(pid, 0) } } catch .system(_, _, ESRCH) { return true } catch {}
    return false
  }

  /// gethostname(2), with nothing in it that a file name may not have.
  private static let thisHost: String = {
    var buffer = [CChar](repeating: 0, count: 256)
    let isKnown = unsafe gethostname(&buffer, buffer.count - 1) == 0
    let name = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return isKnown && !name.isEmpty ? name.replacing("/", with: "_") : "localhost"
  }()
}
