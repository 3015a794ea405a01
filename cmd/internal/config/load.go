package config

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/holdfast-authz/holdfast/cmd/internal/config/strict"
)

// Problem is one thing that is wrong with a configuration.
type Problem = strict.Problem

// Load reads the configuration in a file and sees that the files it names are
// there. It returns the configuration or what is wrong with it, never both.
func Load(path string) (*Config, []Problem) {
	raw, err := read(path)
	if err != nil {
		return nil, []Problem{{File: path, Message: err.Error()}}
	}
	c := parse(path, raw)
	if c.file.Usable() {
		c.checkFiles()
	}
	return c.orProblems()
}

// Parse is Load for bytes that are already here, under a name for messages. It
// does not look at any file.
func Parse(name string, raw []byte) (*Config, []Problem) {
	return parse(name, raw).orProblems()
}

func parse(name string, raw []byte) *Config {
	c := new(Config)
	c.file = strict.Parse(name, raw, c)
	if c.file.Usable() {
		c.derive()
		c.validate()
	}
	return c
}

func (c *Config) orProblems() (*Config, []Problem) {
	if problems := c.file.Problems(); len(problems) > 0 {
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
	raw, err := io.ReadAll(io.LimitReader(f, strict.MaxSize+1))
	if err != nil {
		return nil, cause(err)
	}
	if len(raw) > strict.MaxSize {
		return nil, fmt.Errorf("is larger than %d MiB: this is no configuration file", strict.MaxSize>>20)
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
