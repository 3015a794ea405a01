package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// maxSize is the largest file that is read, in bytes.
const maxSize = 1 << 20

// Load reads the configuration in a file and sees that the files it names are
// there. It returns the configuration or what is wrong with it, never both.
func Load(path string) (*Config, []Problem) {
	raw, err := read(path)
	if err != nil {
		return nil, []Problem{{File: path, Message: err.Error()}}
	}
	c, d := parse(path, raw)
	if c != nil {
		checkFiles(c, d)
	}
	if problems := d.sorted(); len(problems) > 0 {
		return nil, problems
	}
	return c, nil
}

// Parse is Load for bytes that are already here, under a name for messages. It
// does not look at any file.
func Parse(name string, raw []byte) (*Config, []Problem) {
	c, d := parse(name, raw)
	if problems := d.sorted(); len(problems) > 0 {
		return nil, problems
	}
	return c, nil
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, cause(err)
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.IsDir() {
		return nil, errors.New("is a directory, not a configuration file")
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, cause(err)
	}
	if len(raw) > maxSize {
		return nil, fmt.Errorf("is larger than %d MiB: this is no configuration file", maxSize>>20)
	}
	return raw, nil
}

// cause is an error about a file without the file's name, which stands before it.
func cause(err error) error {
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		return fmt.Errorf("cannot %s it: %w", pe.Op, pe.Err)
	}
	return err
}

// parse reads as far as it can. The Config is nil where there is nothing that
// could be looked at further.
func parse(name string, raw []byte) (*Config, *decoder) {
	text := strings.TrimPrefix(string(raw), "\ufeff")
	d := newDecoder(&source{name: name, lines: strings.Split(text, "\n")})
	root := d.document(text)
	if root == nil {
		return nil, d
	}
	c := new(Config)
	v := reflect.ValueOf(c).Elem()
	setDefaults(v)
	d.decode(root, "", v, fieldTag{})
	if d.bad[""] {
		return nil, d
	}
	c.derive()
	validate(c, d)
	return c, d
}

// document is the one YAML document of a file, or nil after noting why not.
func (d *decoder) document(text string) *yaml.Node {
	if len(text) > maxSize {
		d.add(place{}, "is larger than %d MiB: this is no configuration file", maxSize>>20)
		return nil
	}
	if !utf8.ValidString(text) {
		at, _ := firstInvalid(d.lines)
		d.add(at, "not UTF-8: save the file as UTF-8 without other encodings")
		return nil
	}
	if at, ok := firstControl(d.lines); ok {
		d.add(at, "a control character, which YAML does not allow")
		return nil
	}
	loader, err := yaml.NewLoader(strings.NewReader(text))
	if err != nil {
		d.syntax(err)
		return nil
	}
	var doc, more yaml.Node
	if err := loader.Load(&doc); errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0 {
		d.add(place{1, 1}, "the file is empty: holdfast config init prints one to begin with")
		return nil
	} else if err != nil {
		d.syntax(err)
		return nil
	}
	switch err := loader.Load(&more); {
	case err == nil:
		d.add(place{more.Line, more.Column}, "a second document begins here: a configuration is one document")
		return nil
	case !errors.Is(err, io.EOF):
		d.syntax(err)
		return nil
	}
	return doc.Content[0]
}

// syntax notes an error of the YAML parser in our words.
func (d *decoder) syntax(err error) {
	le, ok := errors.AsType[*yaml.LoadError](err)
	if !ok {
		d.add(place{1, 1}, "not YAML: %s", err)
		return
	}
	at := place{max(1, le.Mark.Line), max(1, le.Mark.Column)}
	d.add(at, "not YAML: %s", le.Message)
}
