package assets

import (
	"context"
	"errors"
)

type builder struct{ opts Options }

func newBuilder(opts Options) *builder { return &builder{opts: opts} }

func (b *builder) ensure(context.Context) (*Set, error) { return nil, errors.New("not built") }
