import Testing

@testable import ActCache

@Suite struct LogitPolicyTests {
  @Test func namesReadBackInTheirCanonicalForm() {
    for name in ["hidden", "topk:1", "topk:64", "topk:4096", "mass:0.01:1024", "mass:1e-05:7", "mass:0.5:4096", "full"]
    {
      #expect(LogitPolicy(name)?.name == name)
    }
    for (name, canonical) in [
      ("mass:0.01", "mass:0.01:1024"), ("mass:1e-2", "mass:0.01:1024"), ("mass:.050:10", "mass:0.05:10"),
      ("mass:0.00001", "mass:1e-05:1024"),
    ] { #expect(LogitPolicy(name)?.name == canonical) }
    #expect(LogitPolicy("topk:64")?.stream == "logits/topk:64")
  }

  @Test(arguments: [
    "", "none", "Hidden", "topk", "topk:", "topk:0", "topk:-1", "topk:+3", "topk:03", "topk:4097", "topk:3:4", "mass",
    "mass:", "mass:0", "mass:1", "mass:1.5", "mass:-0.1", "mass:nan", "mass:inf", "mass:0x1p-3", "mass:0.1:",
    "mass:0.1:0",
    "mass:0.1:4097", "mass:0.1:2:3", "full:", "hidden:f32", "topk:64 ", "topk:1e2",
  ]) func whatIsNoPolicyIsRefused(name: String) { #expect(LogitPolicy(name) == nil) }

  @Test func listsAreReadAndEachPolicyIsNamedOnce() throws {
    #expect(try LogitPolicy.list([]) == [])
    #expect(try LogitPolicy.list(["none"]) == [])
    #expect(try LogitPolicy.list(["hidden,topk:8", "full"]) == [.hidden, .topK(8), .full])
    #expect(throws: ActCacheError.unsupported("the logit policy mass:0.1:1024 is named twice; name it once")) {
      try LogitPolicy.list(["mass:0.1", "full", "mass:0.10:1024"])
    }
    #expect(throws: ActCacheError.unsupported("\"none\" is no logit policy here; none stands alone")) {
      try LogitPolicy.list(["hidden,none"])
    }
    #expect(
      throws: ActCacheError.unsupported(
        "\"top64\" is no logit policy here; allowed: none, hidden, topk:<k>, mass:<r> or mass:<r>:<cap> with 0 < r < 1 "
          + "and k and cap 1...4096, full")
    ) { try LogitPolicy.list(["top64"]) }
  }

  @Test func limitsOfVocabularyAndContextAreKept() throws {
    try LogitPolicy.topK(512).validate(nVocabulary: 512, context: 512)
    try LogitPolicy.mass(0.1, cap: 1024).validate(nVocabulary: 512, context: 512)
    try LogitPolicy.hidden.validate(nVocabulary: 1 << 20, context: 1 << 20)
    try LogitPolicy.full.validate(nVocabulary: 50_257, context: 512)
    #expect(
      throws: ActCacheError.limit("topk:513: the vocabulary has only 512 tokens; choose a smaller k, or full")
    ) { try LogitPolicy.topK(513).validate(nVocabulary: 512, context: 512) }
    #expect(
      throws: ActCacheError.limit(
        "full: a sequence of 1024 tokens and a vocabulary of 50257 may not fit into a frame of 64 MiB; choose a shorter "
          + "--context, or hidden or topk")
    ) { try LogitPolicy.full.validate(nVocabulary: 50_257, context: 1024) }
    #expect(
      throws: ActCacheError.limit("a vocabulary of 1048577, teacher logits are stored for 2 to 1048576")
    ) { try LogitPolicy.hidden.validate(nVocabulary: (1 << 20) + 1, context: 1) }
    #expect(throws: ActCacheError.self) {
      try LogitPolicy.topK(4096).validate(nVocabulary: 100_000, context: 1 << 20)
    }
  }
}
