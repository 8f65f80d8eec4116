module github.com/tollbridge/tollbridge/internal/differential

go 1.26.0

replace github.com/tollbridge/tollbridge => ../../

require (
	github.com/PaddleHQ/paddle-go-sdk/v4 v4.1.0
	github.com/go-jose/go-jose/v4 v4.1.9
	github.com/mercadopago/sdk-go v1.8.0
	github.com/razorpay/razorpay-go v1.3.3
	github.com/standard-webhooks/standard-webhooks/libraries v0.0.1
	github.com/stripe/stripe-go/v82 v82.5.1
	github.com/svix/svix-webhooks v1.44.0
	github.com/tollbridge/tollbridge v0.0.0-00010101000000-000000000000
)

require (
	github.com/ggicci/httpin v0.20.1 // indirect
	github.com/ggicci/owl v0.8.2 // indirect
	github.com/go-json-experiment/json v1.27.2 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
	github.com/stretchr/testify v1.12.1 // indirect
	go.yaml.in/yaml/v3 v3.0.6 // indirect
	golang.org/x/oauth2 v0.38.0 // indirect
	golang.org/x/time v0.16.0 // indirect
	gopkg.in/validator.v2 v2.0.1 // indirect
)
