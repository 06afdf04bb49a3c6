import Foundation
import Memory
import Testing

@Suite struct TemporaryNameTests {
  @Test func nameSaysWhatItBecomesAndWhoWritesIt() throws {
    let name = TemporaryName(for: "000-128.tmp.zst")
    #expect(name.fileName.hasPrefix(".000-128.tmp.zst.tmp.\(name.host).\(getpid())."))
    let parsed = try #require(TemporaryName(parsing: name.fileName))
    #expect(parsed == name && parsed.name == "000-128.tmp.zst" && parsed.pid == getpid())
    #expect(TemporaryName(for: "a") != TemporaryName(for: "a"))
    let dotted = try #require(TemporaryName(parsing: ".a.json.tmp.node-7.cluster.example.17.k3x"))
    #expect(dotted.name == "a.json" && dotted.host == "node-7.cluster.example" && dotted.pid == 17)
  }

  @Test(arguments: ["a.tmp.h.1.x", ".tmp.h.1.x", ".a.tmp.1.x", ".a.tmp.h.0.x", ".a.tmp.h.p.x", ".a.tmp.h.1.", ".lock"])
  func otherNamesAreNoTemporaries(name: String) {
    #expect(TemporaryName(parsing: name) == nil)
  }

  @Test func onlyAnEndedProcessOfThisHostIsKnownToBeGone() throws {
    let own = TemporaryName(for: "a")
    #expect(!own.ownerIsGone)
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = ["-c", "exit 0"]
    try process.run()
    process.waitUntilExit()
    let pid = process.processIdentifier
    #expect(try #require(TemporaryName(parsing: ".a.tmp.\(own.host).\(pid).x")).ownerIsGone)
    #expect(try !#require(TemporaryName(parsing: ".a.tmp.\(own.host).elsewhere.\(pid).x")).ownerIsGone)
  }
}
