package jose

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Limits of a JSON object inside a token. No honest token comes near them.
const (
	MaxObjectBytes = 16 << 10
	MaxDepth       = 16
)

// usualMembers is room for the claims of most tokens.
const usualMembers = 16

// Kind is the type of a JSON value.
type Kind uint8

// The JSON types. The zero Kind is that of a value that is not there.
const (
	Missing Kind = iota
	Null
	Bool
	Number
	String
	Array
	Composite // an object
)

// Value is one JSON value. It aliases the text it was read from.
type Value struct {
	kind  Kind
	raw   string // the text as it stands, without the white space around it
	text  string // String: decoded
	items []Value
	obj   *Object
}

// Kind tells the value's type.
func (v Value) Kind() Kind { return v.kind }

// Raw is the value's text as it stands in the document: a number keeps its digits.
func (v Value) Raw() string { return v.raw }

// Text gives a string's value, escapes decoded.
func (v Value) Text() (text string, ok bool) { return v.text, v.kind == String }

// Items gives an array's elements.
func (v Value) Items() (items []Value, ok bool) { return v.items, v.kind == Array }

// Object gives an object.
func (v Value) Object() (obj *Object, ok bool) { return v.obj, v.kind == Composite }

// Member is one name and its value.
type Member struct {
	Name  string // escapes decoded
	Value Value
}

// Object is a JSON object whose names are all different. Names are compared
// byte by byte after their escapes are decoded; encoding/json folds case.
type Object struct {
	members []Member
}

// Get finds a member by its exact name.
func (o *Object) Get(name string) (v Value, ok bool) {
	for i := range o.members {
		if o.members[i].Name == name {
			return o.members[i].Value, true
		}
	}
	return Value{}, false
}

// Has tells whether a member is there, whatever its value.
func (o *Object) Has(name string) bool {
	_, ok := o.Get(name)
	return ok
}

// Members gives all members in their order; the caller does not change them.
func (o *Object) Members() []Member { return o.members }

// ParseObject reads one JSON object (RFC 8259) and nothing beside it. It
// refuses what encoding/json lets through: members that stand twice (at any
// level, after unescaping), invalid UTF-8, lone surrogates, nesting deeper
// than MaxDepth, more than MaxObjectBytes.
func ParseObject(src []byte) (*Object, error) { return parseObject(string(src), MaxObjectBytes) }

// ParseObjectLarge is ParseObject for a document of up to limit bytes, such as
// the answer of a server that the configuration names.
func ParseObjectLarge(src []byte, limit int) (*Object, error) { return parseObject(string(src), limit) }

func parseObject(src string, limit int) (*Object, error) {
	if len(src) > limit {
		return nil, fmt.Errorf("JSON of %d bytes; at most %d are read", len(src), limit)
	}
	if !utf8.ValidString(src) {
		return nil, errors.New("JSON is not valid UTF-8")
	}
	p := parser{src: src}
	p.space()
	if p.peek() != '{' {
		return nil, errors.New("JSON is not an object")
	}
	v, err := p.value(1)
	if err != nil {
		return nil, err
	}
	p.space()
	if p.at != len(p.src) {
		return nil, p.errorf("bytes after the object")
	}
	return v.obj, nil
}

// parser walks over a text that is valid UTF-8.
type parser struct {
	src string
	at  int
}

func (p *parser) errorf(format string, args ...any) error {
	return fmt.Errorf("JSON, byte %d: %s", p.at, fmt.Sprintf(format, args...))
}

// peek gives the next byte, 0 at the end; a NUL in the text fits nowhere either.
func (p *parser) peek() byte {
	if p.at < len(p.src) {
		return p.src[p.at]
	}
	return 0
}

func (p *parser) space() {
	for p.at < len(p.src) {
		switch p.src[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

// value reads one value; depth counts the arrays and objects it would open.
func (p *parser) value(depth int) (Value, error) {
	start := p.at
	switch c := p.peek(); {
	case c == '{' || c == '[':
		if depth > MaxDepth {
			return Value{}, p.errorf("nested deeper than %d", MaxDepth)
		}
		v := Value{kind: Array}
		var err error
		if c == '{' {
			v.kind = Composite
			v.obj, err = p.object(depth)
		} else {
			v.items, err = p.array(depth)
		}
		v.raw = p.src[start:p.at]
		return v, err
	case c == '"':
		text, err := p.string()
		return Value{kind: String, raw: p.src[start:p.at], text: text}, err
	case c == '-' || digit(c):
		if err := p.number(); err != nil {
			return Value{}, err
		}
		return Value{kind: Number, raw: p.src[start:p.at]}, nil
	}
	for _, word := range [...]struct {
		text string
		kind Kind
	}{{"true", Bool}, {"false", Bool}, {"null", Null}} {
		if strings.HasPrefix(p.src[p.at:], word.text) {
			p.at += len(word.text)
			return Value{kind: word.kind, raw: word.text}, nil
		}
	}
	return Value{}, p.errorf("no JSON value")
}

func (p *parser) object(depth int) (*Object, error) {
	p.at++ // {
	obj := &Object{}
	if depth == 1 {
		obj.members = make([]Member, 0, usualMembers)
	}
	var seen names
	for p.space(); p.peek() != '}'; p.space() {
		if len(obj.members) > 0 {
			if p.peek() != ',' {
				return nil, p.errorf("no comma between members")
			}
			p.at++
			p.space()
		}
		if p.peek() != '"' {
			return nil, p.errorf("no member name")
		}
		name, err := p.string()
		if err != nil {
			return nil, err
		}
		if seen.twice(obj.members, name) {
			return nil, p.errorf("member %.64q stands twice", name)
		}
		p.space()
		if p.peek() != ':' {
			return nil, p.errorf("no colon after a member name")
		}
		p.at++
		p.space()
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		obj.members = append(obj.members, Member{Name: name, Value: v})
	}
	p.at++ // }
	return obj, nil
}

// names finds repeated member names: by looking at each while there are few,
// by a set when there are many, so that no document costs quadratic time.
type names map[string]struct{}

const fewMembers = 24

func (n *names) twice(members []Member, name string) bool {
	if len(members) < fewMembers {
		for i := range members {
			if members[i].Name == name {
				return true
			}
		}
		return false
	}
	if *n == nil {
		*n = make(names, 2*fewMembers)
		for i := range members {
			(*n)[members[i].Name] = struct{}{}
		}
	}
	_, twice := (*n)[name]
	(*n)[name] = struct{}{}
	return twice
}

func (p *parser) array(depth int) ([]Value, error) {
	p.at++ // [
	var items []Value
	for p.space(); p.peek() != ']'; p.space() {
		if len(items) > 0 {
			if p.peek() != ',' {
				return nil, p.errorf("no comma between elements")
			}
			p.at++
			p.space()
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		items = append(items, v)
	}
	p.at++ // ]
	return items, nil
}

// number checks RFC 8259 section 6: no plus, no leading zero, no bare point.
func (p *parser) number() error {
	if p.peek() == '-' {
		p.at++
	}
	if p.peek() == '0' {
		p.at++
	} else if !p.digits() {
		return p.errorf("no digit in a number")
	}
	if p.peek() == '.' {
		p.at++
		if !p.digits() {
			return p.errorf("no digit after the point")
		}
	}
	if c := p.peek(); c == 'e' || c == 'E' {
		p.at++
		if c := p.peek(); c == '+' || c == '-' {
			p.at++
		}
		if !p.digits() {
			return p.errorf("no digit in the exponent")
		}
	}
	// What follows is for the caller: 01 fails there, as "1" is no comma.
	return nil
}

func (p *parser) digits() bool {
	start := p.at
	for digit(p.peek()) {
		p.at++
	}
	return p.at > start
}

func digit(c byte) bool { return '0' <= c && c <= '9' }
