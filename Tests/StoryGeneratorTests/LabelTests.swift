import Foundation
import Testing

@testable import StoryGenerator

private let sample: [Story] = {
  let templates = TemplateCache()
  return (0..<300).map { makeStory(seed: 11, index: $0, templates: templates) }
}()

private func spans(of concept: Concept) -> [(text: String, value: String, story: Story, label: Label)] {
  sample.flatMap { story in
    story.labels.filter { $0.concept == concept }.map { label in
      (String(decoding: story.text[label.start..<label.end], as: UTF8.self), label.value, story, label)
    }
  }
}

@Suite struct LabelTests {
  @Test func everyConceptOccurs() {
    for concept in Concept.allCases { #expect(!spans(of: concept).isEmpty, "\(concept)") }
  }

  @Test func spansLieInTheTextAndAreSorted() {
    for story in sample {
      var previous = 0
      for label in story.labels {
        #expect(label.start >= previous && label.start < label.end && label.end <= story.text.count)
        previous = label.start
      }
    }
  }

  @Test func spansBeginAndEndInsideWords() {
    for story in sample {
      for label in story.labels {
        let text = story.text[label.start..<label.end]
        #expect(text.first != 0x20 && text.last != 0x20 && text.first != 0x0A && text.last != 0x0A)
      }
    }
  }

  @Test func colorSpansAreColorWords() {
    let colors: Set<String> = [
      "red", "blue", "green", "yellow", "white", "black", "brown", "gray", "orange", "purple", "pink", "golden",
      "silver",
    ]
    for span in spans(of: .color) {
      #expect(colors.contains(span.value))
      #expect(span.text.lowercased() == span.value)
    }
  }

  @Test func quotationsLieBetweenQuotes() {
    for span in spans(of: .quotation) {
      #expect(span.story.text[span.label.start - 1] == UInt8(ascii: "\""))
      #expect(span.story.text[span.label.end] == UInt8(ascii: "\""))
      #expect(!span.text.contains("\""))
    }
  }

  @Test func everyQuotationMarkBelongsToALabelledQuotation() {
    for story in sample {
      let marks = story.text.count { $0 == UInt8(ascii: "\"") }
      #expect(marks == 2 * story.labels.count { $0.concept == .quotation }, "\(story.string)")
    }
  }

  @Test func everyQuotationHasASpeaker() {
    for story in sample {
      let quotations = story.labels.filter { $0.concept == .quotation }.map { [$0.start, $0.end] }
      let speakers = story.labels.filter { $0.concept == .speakerGender }
      #expect(quotations == speakers.map { [$0.start, $0.end] })
      #expect(speakers.allSatisfy { ["female", "male", "both"].contains($0.value) })
    }
  }

  @Test func pronounsAgreeWithTheirAntecedents() {
    let forms: [String: Set<String>] = [
      "female": ["she", "her", "hers", "herself"], "male": ["he", "him", "his", "himself"], "thing": ["it", "one"],
      "group": ["they", "them", "their"],
    ]
    for span in spans(of: .antecedent) {
      #expect(forms[span.value]?.contains(span.text.lowercased()) == true, "\(span.text) is \(span.value)")
    }
  }

  @Test func aNameHasOneGenderInAStory() {
    for story in sample {
      var genders: [String: Set<String>] = [:]
      for label in story.labels where label.concept == .gender {
        let text = String(decoding: story.text[label.start..<label.end], as: UTF8.self)
        if text.first?.isUppercase == true, !text.contains(" "), !["He", "She", "His", "Her", "Him"].contains(text) {
          genders[text, default: []].insert(label.value)
        }
      }
      #expect(genders.allSatisfy { $0.value.count == 1 }, "\(genders)")
    }
  }

  @Test func numbersAreNumberWords() {
    for span in spans(of: .number) where span.text.lowercased() != "second" {
      #expect(Int(span.value).map { numerals[$0] } == span.text.lowercased())
    }
  }

  @Test func sensesNameTheirWord() {
    let irregular = [
      "leaf": "leaves", "flies": "fly", "flew": "fly", "fell": "fall", "sprang": "spring", "rises": "rose",
      "flying": "fly",
    ]
    for span in spans(of: .sense) {
      let word = span.value.split(separator: ".")[0]
      let text = span.text.lowercased()
      #expect(text.hasPrefix(word) || irregular[text].map { $0 == word } == true, "\(text) is \(span.value)")
    }
  }

  @Test func someWordsOccurInSeveralSenses() {
    let senses = Dictionary(grouping: Set(spans(of: .sense).map(\.value)), by: { $0.split(separator: ".")[0] })
    #expect(senses.count { $0.value.count > 1 } >= 15, "\(senses)")
  }

  @Test func narrationKeepsItsTense() {
    for story in sample {
      #expect(Set(story.labels.filter { $0.concept == .tense }.map(\.value)).count == 1)
    }
  }

  @Test func possessivesLookLikeIt() {
    for span in spans(of: .possession) {
      switch span.value {
      case "name": #expect(span.text.hasSuffix("'s"))
      case "determiner": #expect(["her", "his", "my", "your", "our"].contains(span.text.lowercased()))
      default: #expect(["hers", "his"].contains(span.text))
      }
    }
  }

  @Test func linesOfTheCorpusDecodeToTheLabels() throws {
    for story in sample.prefix(20) {
      let object = try #require(
        JSONSerialization.jsonObject(with: Data(jsonLine(of: story))) as? [String: Any])
      #expect(object["text"] as? String == story.string)
      let labels = try #require(object["labels"] as? [[Any]])
      var start = 0
      for (label, known) in zip(labels, story.labels) {
        start += try #require(label[0] as? Int)
        #expect(start == known.start && label[1] as? Int == known.end - known.start)
        #expect(label[2] as? String == known.concept.rawValue && label[3] as? String == known.value)
      }
      #expect(labels.count == story.labels.count)
    }
  }
}
