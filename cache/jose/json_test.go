package jose

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
)

func nested(open, inner, end string, n int) string {
	return strings.Repeat(open, n) + inner + strings.Repeat(end, n)
}

func manyMembers(n int, last string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range n {
		fmt.Fprintf(&b, `"m%d":1,`, i)
	}
	return b.String() + last + "}"
}

// TestObjectRefuses holds the cases PA01 to PA05, PA07 and PA12 of the attack
// catalogue: what encoding/json reads in its own way.
func TestObjectRefuses(t *testing.T) {
	for name, src := range map[string]string{
		"PA01 member twice":                    `{"sub":"a","sub":"b"}`,
		"PA01 member twice after unescaping":   `{"sub":"a","\u0073ub":"b"}`,
		"PA01 both escaped in different ways":  `{"\u0073ub":"a","s\u0075b":"b"}`,
		"PA01 member twice, one level down":    `{"cnf":{"jkt":"a","jkt":"b"}}`,
		"PA01 member twice, inside an array":   `{"a":[1,{"b":1,"b":1}]}`,
		"PA01 empty name twice":                `{"":1,"":2}`,
		"PA01 repeated slash with escape":      `{"a/b":1,"a\/b":2}`,
		"PA01 repeated among many":             manyMembers(500, `"m7":2`),
		"PA01 repeated among many, escaped":    manyMembers(500, `"\u006d7":2`),
		"PA03 invalid UTF-8 in a value":        "{\"sub\":\"a\xff\"}",
		"PA03 invalid UTF-8 in a name":         "{\"s\xc3\":1}",
		"PA03 overlong UTF-8":                  "{\"sub\":\"\xc0\xaf\"}",
		"PA03 surrogate in UTF-8":              "{\"sub\":\"\xed\xa0\x80\"}",
		"PA03 above U+10FFFF":                  "{\"sub\":\"\xf4\x90\x80\x80\"}",
		"PA03 lone high surrogate":             `{"sub":"\ud800"}`,
		"PA03 lone low surrogate":              `{"sub":"\udc00"}`,
		"PA03 surrogates in the wrong order":   `{"sub":"\udc00\ud800"}`,
		"PA03 high surrogate twice":            `{"sub":"\ud800\ud800"}`,
		"PA03 high surrogate and a letter":     `{"sub":"\ud800a"}`,
		"PA03 high surrogate and short escape": `{"sub":"\ud800\n"}`,
		"PA03 high surrogate and cut escape":   `{"sub":"\ud800\u"}`,
		"PA03 lone surrogate in a name":        `{"\ud800":1}`,
		"PA04 bytes after the object":          `{"a":1}x`,
		"PA04 another object":                  `{"a":1}{}`,
		"PA04 closing brace too many":          `{"a":1}}`,
		"PA04 NUL after the object":            "{}\x00",
		"PA04 BOM":                             "\ufeff{}",
		"PA04 null":                            `null`,
		"PA04 array":                           `[]`,
		"PA04 string":                          `"x"`,
		"PA04 number":                          `1`,
		"PA04 nothing":                         ``,
		"PA04 white space":                     "  \n",
		"PA05 objects 17 deep":                 nested(`{"a":`, "1", "}", 17),
		"PA05 arrays 17 deep":                  `{"a":` + nested("[", "1", "]", 16) + `}`,
		"PA05 10000 deep":                      `{"a":` + nested("[", "", "]", 8000) + `}`,
		"PA05 only opening brackets":           `{"a":` + strings.Repeat("[", 16000),
		"PA12 NaN":                             `{"a":NaN}`,
		"PA12 Infinity":                        `{"a":-Infinity}`,
		"PA12 line comment":                    "{\"a\":1}//",
		"PA12 comment inside":                  `{/**/"a":1}`,
		"PA12 comma at the end":                `{"a":1,}`,
		"PA12 comma at the end of an array":    `{"a":[1,]}`,
		"PA12 comma at the start":              `{,"a":1}`,
		"PA12 two commas":                      `{"a":1,,"b":2}`,
		"PA12 no comma":                        `{"a":1 "b":2}`,
		"PA12 no comma in an array":            `{"a":[1 2]}`,
		"PA12 leading zero":                    `{"a":01}`,
		"PA12 minus alone":                     `{"a":-}`,
		"PA12 minus and leading zero":          `{"a":-01}`,
		"PA12 plus":                            `{"a":+1}`,
		"PA12 point at the end":                `{"a":1.}`,
		"PA12 point at the start":              `{"a":.5}`,
		"PA12 exponent without digits":         `{"a":1e}`,
		"PA12 exponent with sign alone":        `{"a":1e+}`,
		"PA12 hexadecimal":                     `{"a":0x10}`,
		"PA12 single quotes":                   `{'a':1}`,
		"PA12 name without quotes":             `{a:1}`,
		"PA12 number as a name":                `{1:1}`,
		"PA12 True":                            `{"a":True}`,
		"PA12 nul":                             `{"a":nul}`,
		"PA12 more than 16 KiB":                `{"a":"` + strings.Repeat("x", MaxObjectBytes) + `"}`,
		"PA12 100000 members":                  manyMembers(100_000, `"z":1`),
		"no colon":                             `{"a" 1}`,
		"no value":                             `{"a":}`,
		"no end":                               `{"a":1`,
		"no end after a comma":                 `{"a":1,`,
		"no end of an array":                   `{"a":[1`,
		"no end of a string":                   `{"a":"b`,
		"no end of an escaped string":          `{"a":"\nb`,
		"no end after a backslash":             `{"a":"\`,
		"mismatched brackets":                  `{"a":[1}`,
		"unknown escape":                       `{"a":"\x41"}`,
		"escape of a quote mark":               `{"a":"\'"}`,
		"escape without enough digits":         `{"a":"\u12"}`,
		"escape with a bad digit":              `{"a":"\u12g4"}`,
		"escape with a capital U":              `{"a":"\U0041"}`,
		"tab in a string":                      "{\"a\":\"\t\"}",
		"line end in a string":                 "{\"a\":\"\n\"}",
		"NUL in a string":                      "{\"a\":\"\x00\"}",
		"line end after an escape":             "{\"a\":\"\\t\n\"}",
		"form feed as white space":             "{\f}",
		"no-break space as white space":        "{\u00a0}",
	} {
		t.Run(name, func(t *testing.T) {
			if obj, err := ParseObject([]byte(src)); err == nil {
				t.Errorf("accepted as %v", obj.Members())
			}
		})
	}
}

func TestObjectReads(t *testing.T) {
	obj, err := ParseObject([]byte(" \t\r\n" + `{ "s" : "a\"\\\/\b\f\n\r\té\u00e9\ud83d\ude00\u0000\uFFFD" , "n":-12.50E+3,"t":true,"f":false,
		"z":null,"a":[ 1 , "x" , [] , {} ],"o":{"in":"ner"},"e":{},"\u006eame":"escaped" }` + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := obj.Get("s"); v.text != "a\"\\/\b\f\n\r\téé😀\x00\ufffd" {
		t.Errorf("s is %q", v.text)
	}
	if v, _ := obj.Get("n"); v.Kind() != Number || v.Raw() != "-12.50E+3" {
		t.Errorf("n is %q", v.Raw())
	}
	for name, kind := range map[string]Kind{"t": Bool, "f": Bool, "z": Null, "a": Array, "o": Composite, "e": Composite, "name": String, "Name": Missing} {
		if v, ok := obj.Get(name); v.Kind() != kind || ok != (kind != Missing) {
			t.Errorf("%s has kind %d, want %d", name, v.Kind(), kind)
		}
	}
	a, _ := obj.Get("a")
	if items, ok := a.Items(); !ok || len(items) != 4 || items[1].text != "x" || a.Raw() != `[ 1 , "x" , [] , {} ]` {
		t.Errorf("a is %q", a.Raw())
	}
	o, _ := obj.Get("o")
	if inner, ok := o.Object(); !ok || !inner.Has("in") || inner.Has("ner") {
		t.Errorf("o is %q", o.Raw())
	}
	// A value of one type has nothing of another.
	if _, ok := o.Text(); ok {
		t.Error("an object gives a text")
	}
	if _, ok := o.Items(); ok {
		t.Error("an object gives items")
	}
	if _, ok := a.Object(); ok {
		t.Error("an array gives an object")
	}
}

func TestObjectLimits(t *testing.T) {
	for name, src := range map[string]string{
		"16 deep":      nested(`{"a":`, "1", "}", 16),
		"16 KiB":       `{"a":"` + strings.Repeat("x", MaxObjectBytes-8) + `"}`,
		"1000 members": manyMembers(1000, `"z":1`),
	} {
		if _, err := ParseObject([]byte(src)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// PA02: names are compared byte by byte. encoding/json would take each of
// these for sub, sid or exp.
func TestNamesAreExact(t *testing.T) {
	obj, err := ParseObject([]byte(`{"SUB":1,"Sub":2,"ſub":3,"ſid":4,"EXP":5," exp":6,"exp\u0000":7,"e\u0301":8,"\u00e9":9}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sub", "sid", "exp"} {
		if obj.Has(name) {
			t.Errorf("%s is there", name)
		}
	}
	if v, _ := obj.Get("é"); v.Raw() != "9" {
		t.Errorf("composed é is %s", v.Raw())
	}
}

// FuzzObject: what is accepted here is accepted by encoding/json, which reads
// the same out of it.
func FuzzObject(f *testing.F) {
	for _, src := range []string{
		`{}`, `{"a":1}`, `{"a":"\ud83d\ude00\n","b":[1,-2.5e3,{"c":null}],"d":true}`, `{"a":1,"a":2}`,
		"\ufeff{}", `{"a":01}`, "{\"a\":\"\xff\"}", `{"a":"\ud800"}`, `{"a":1}x`, nested(`{"a":`, "1", "}", 17),
	} {
		f.Add([]byte(src))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		obj, err := ParseObject(src)
		if err != nil {
			return
		}
		d := json.NewDecoder(bytes.NewReader(src))
		d.UseNumber()
		var want map[string]any
		if err := d.Decode(&want); err != nil {
			t.Fatalf("encoding/json refuses what was accepted: %v", err)
		}
		if _, err := d.Token(); err != io.EOF {
			t.Fatalf("encoding/json finds more after the object: %v", err)
		}
		same(t, Value{kind: Composite, obj: obj}, want)
	})
}

func same(t *testing.T, got Value, want any) {
	t.Helper()
	ok := true
	switch want := want.(type) {
	case nil:
		ok = got.Kind() == Null
	case bool:
		ok = got.Kind() == Bool && got.Raw() == fmt.Sprint(want)
	case json.Number:
		ok = got.Kind() == Number && got.Raw() == want.String()
	case string:
		text, isText := got.Text()
		ok = isText && text == want
	case []any:
		items, isArray := got.Items()
		if ok = isArray && len(items) == len(want); ok {
			for i := range items {
				same(t, items[i], want[i])
			}
		}
	case map[string]any:
		obj, isObject := got.Object()
		if ok = isObject && len(obj.Members()) == len(want); ok {
			for _, m := range obj.Members() {
				same(t, m.Value, want[m.Name])
			}
		}
	}
	if !ok {
		t.Errorf("%q is not what encoding/json reads: %v", got.Raw(), want)
	}
}
