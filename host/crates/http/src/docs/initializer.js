"use strict";

// HEAD and OPTIONS are in the document, for programs; people know them.
const withoutCommonMethods = () => ({
  statePlugins: {
    spec: {
      wrapSelectors: {
        taggedOperations: (original) => (state, ...rest) =>
          original(state, ...rest).filter((_, tag) => tag !== "HEAD and OPTIONS"),
      },
    },
  },
});

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  layout: "BaseLayout",
  plugins: [withoutCommonMethods],
  presets: [SwaggerUIBundle.presets.apis],
  tryItOutEnabled: true,
  // Nothing is sent anywhere else.
  validatorUrl: null,
});
