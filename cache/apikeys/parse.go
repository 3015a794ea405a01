package apikeys

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/holdfast-authz/holdfast/cache"
)

const (
	maxFile     = 4 << 20 // some 20 000 keys
	maxProblems = 100     // of one file
)

// Entry is a key's line in the file. It is shared: nobody may change it.
type Entry struct {
	ID     string
	Sum    [sha256.Size]byte // of the key's bytes
	Client string
	Scope  string // space-separated, as in a scope claim
	Tenant string
	Owner  string // who to ask about it

	Created time.Time // zero where the file does not say: then no rule about age can hold
	Expires time.Time // zero where the file does not say: then only a rule about age ends it
}

// Set is a file's keys; immutable.
type Set struct {
	entries []Entry
	bySum   map[[sha256.Size]byte]*Entry
}

// Entries are the keys in the file's order.
func (s *Set) Entries() []Entry { return slices.Clone(s.entries) }

// Problem is one thing that is wrong with a file.
type Problem struct {
	Line, Column int // from 1; 0 where the file as a whole is meant
	Message      string
}

// FileError is all that is wrong with a file, from its top to its end.
type FileError struct {
	File     string
	Problems []Problem
}

// Lines are the problems as the configuration's are shown.
func (e *FileError) Lines() []string {
	out := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		out[i] = fmt.Sprintf("%s:%d:%d: %s", e.File, p.Line, p.Column, p.Message)
		if p.Line == 0 {
			out[i] = fmt.Sprintf("%s: %s", e.File, p.Message)
		}
	}
	return out
}

// Error is the first problem, and how many more there are.
func (e *FileError) Error() string {
	lines := e.Lines()
	if len(lines) == 1 {
		return lines[0]
	}
	return fmt.Sprintf("%s (and %d more problems)", lines[0], len(lines)-1)
}

// Parse reads a file of keys. What is wrong with it is a *FileError, which
// never shows a sha256: people put the key itself there by mistake, and errors
// end up in logs.
func Parse(name string, doc []byte) (*Set, error) {
	r := &reader{ids: map[string]int{}, sums: map[[sha256.Size]byte]int{}}
	root := r.document(strings.TrimPrefix(string(doc), "\ufeff"))
	if root != nil {
		r.list(root)
	}
	if len(r.problems) > 0 {
		slices.SortStableFunc(r.problems, func(a, b Problem) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		return nil, &FileError{name, r.problems}
	}
	set := &Set{r.entries, make(map[[sha256.Size]byte]*Entry, len(r.entries))}
	for i := range set.entries {
		set.bySum[set.entries[i].Sum] = &set.entries[i]
	}
	return set, nil
}

// reader collects entries and problems. ids and sums give the line that has
// them first.
type reader struct {
	entries  []Entry
	problems []Problem
	ids      map[string]int
	sums     map[[sha256.Size]byte]int
}

func (r *reader) say(line, column int, format string, args ...any) {
	if len(r.problems) < maxProblems {
		r.problems = append(r.problems, Problem{line, column, fmt.Sprintf(format, args...)})
	}
}

func (r *reader) at(n *yaml.Node, format string, args ...any) {
	r.say(n.Line, n.Column, format, args...)
}

// document is the root of the file's only document, or nil after saying why
// there is none.
func (r *reader) document(text string) *yaml.Node {
	if !utf8.ValidString(text) {
		r.say(0, 0, "is not UTF-8")
		return nil
	}
	loader, err := yaml.NewLoader(strings.NewReader(text))
	if err != nil {
		r.syntax(err)
		return nil
	}
	var doc, more yaml.Node
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0:
		// Also what a file looks like that is just being written.
		r.say(0, 0, "is empty: a file without keys is []")
		return nil
	case err != nil:
		r.syntax(err)
		return nil
	}
	switch err := loader.Load(&more); {
	case err == nil:
		r.at(&more, "a second document begins here: all keys are in one list")
		return nil
	case !errors.Is(err, io.EOF):
		r.syntax(err)
		return nil
	}
	return doc.Content[0]
}

func (r *reader) syntax(err error) {
	if le, ok := errors.AsType[*yaml.LoadError](err); ok {
		r.say(le.Mark.Line, le.Mark.Column, "not YAML: %s", le.Message)
		return
	}
	r.say(0, 0, "not YAML: %s", err)
}

func (r *reader) list(root *yaml.Node) {
	if root.Kind != yaml.SequenceNode {
		r.at(root, "must be a list of keys: - id: …")
		return
	}
	for _, item := range root.Content {
		r.entry(item)
	}
}

// entryKeys are the keys of an entry, in the documented order.
var entryKeys = []string{"id", "sha256", "client", "scopes", "tenant", "created", "expires", "owner"}

func (r *reader) entry(n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		r.at(n, "an entry must be a mapping (id: …), without anchors or aliases")
		return
	}
	var e Entry
	seen := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch first := seen[key.Value]; {
		case key.Kind != yaml.ScalarNode || !slices.Contains(entryKeys, key.Value):
			r.at(key, "unknown key %s: an entry has %s", quote(key.Value), strings.Join(entryKeys, ", "))
			continue
		case first != nil:
			r.at(key, "duplicate key %s: it is already set in line %d", key.Value, first.Line)
			continue
		}
		seen[key.Value] = value
		switch key.Value {
		case "id":
			e.ID = r.text(value, "id")
		case "client":
			e.Client = r.text(value, "client")
		case "tenant":
			e.Tenant = r.text(value, "tenant")
		case "owner":
			e.Owner = r.text(value, "owner")
		case "sha256":
			e.Sum = r.digest(value)
		case "scopes":
			e.Scope = r.scopes(value)
		case "created":
			e.Created = r.time(value, "created")
		case "expires":
			e.Expires = r.time(value, "expires")
		}
	}
	for _, key := range [...]string{"id", "sha256"} {
		if seen[key] == nil {
			r.at(n, "%s is missing", key)
		}
	}
	if !e.Created.IsZero() && !e.Expires.IsZero() && !e.Expires.After(e.Created) {
		r.at(seen["expires"], "expires is not after created")
	}
	r.unique(&e, seen)
	r.entries = append(r.entries, e)
}

// unique refuses a second entry of an id, which revocations and records name
// it by, and of a key, which would have two meanings.
func (r *reader) unique(e *Entry, seen map[string]*yaml.Node) {
	if e.ID != "" {
		if line, twice := r.ids[e.ID]; twice {
			r.at(seen["id"], "duplicate id %s: it is already in line %d", quote(e.ID), line)
		} else {
			r.ids[e.ID] = seen["id"].Line
		}
	}
	if e.Sum != [sha256.Size]byte{} {
		if line, twice := r.sums[e.Sum]; twice {
			r.at(seen["sha256"], "duplicate sha256: this key is already in line %d", line)
		} else {
			r.sums[e.Sum] = seen["sha256"].Line
		}
	}
}

// text reads a text that is not empty.
func (r *reader) text(n *yaml.Node, what string) string {
	tag := n.ShortTag()
	switch {
	case n.Kind != yaml.ScalarNode:
		r.at(n, "%s must be a text", what)
	case tag == "!!null":
		r.at(n, "%s has no value: give it one or leave it out", what)
	case tag != "!!str" && tag != "!!timestamp":
		r.at(n, "%s must be a text: put it in quotes", what)
	case n.Value == "":
		r.at(n, "%s is empty: give it a value or leave it out", what)
	case len(n.Value) > cache.MaxValueBytes:
		r.at(n, "%s has more than %d bytes", what, cache.MaxValueBytes)
	case strings.ContainsFunc(n.Value, unicode.IsControl):
		r.at(n, "%s has a control character in it", what)
	default:
		return n.Value
	}
	return ""
}

// digest reads a sha256. It goes by the text alone: to YAML some are numbers.
func (r *reader) digest(n *yaml.Node) (sum [sha256.Size]byte) {
	const form = "must be the SHA-256 of the key, as 64 lower-case hex digits: holdfast token hash makes it"
	if n.Kind != yaml.ScalarNode || len(n.Value) != hex.EncodedLen(len(sum)) || strings.ToLower(n.Value) != n.Value {
		r.at(n, "sha256 %s", form)
		return sum
	}
	if _, err := hex.Decode(sum[:], []byte(n.Value)); err != nil {
		r.at(n, "sha256 %s", form)
		return [sha256.Size]byte{}
	}
	switch sum {
	case sha256.Sum256(nil):
		r.at(n, "sha256 is that of an empty key")
	case [sha256.Size]byte{}:
		r.at(n, "sha256 is all zero: no key is known that has it")
	}
	return sum
}

// scopes reads a list of scope-tokens (RFC 6749, 3.3).
func (r *reader) scopes(n *yaml.Node) string {
	if n.Kind != yaml.SequenceNode {
		r.at(n, "scopes must be a list, such as [read, write]")
		return ""
	}
	var scopes []string
	for _, item := range n.Content {
		scope := r.text(item, "a scope")
		notToken := func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '"' || c == '\\' }
		if strings.ContainsFunc(scope, notToken) {
			r.at(item, "the scope %s has a character that no scope may have", quote(scope))
		}
		scopes = append(scopes, scope)
	}
	return strings.Join(scopes, " ")
}

// time reads a time of RFC 3339, from the years that a NumericDate may have,
// and drops its fraction.
func (r *reader) time(n *yaml.Node, what string) time.Time {
	const lastSecond = 253402300799 // contract §10, Claims
	if n.Kind == yaml.ScalarNode {
		at, err := time.Parse(time.RFC3339, n.Value)
		if s := at.Unix(); err == nil && s >= 0 && s <= lastSecond {
			return time.Unix(s, 0).UTC()
		}
	}
	r.at(n, "%s must be a time such as 2026-11-25T12:00:00Z", what)
	return time.Time{}
}

// quote shows a piece of the file: short, on one line, harmless to a terminal.
func quote(s string) string {
	const most = 60
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most]) + "…"
	}
	return fmt.Sprintf("%q", s)
}
