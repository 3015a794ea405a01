package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
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
	d := newDecoder(&source{name: name, lines: lineBreak.Split(text, -1)})
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
	c.set = d.keys
	c.derive()
	validate(c, d)
	return c, d
}
