"use strict";
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#ui",
  deepLinking: true,
  // The badge would send the document's address to a server elsewhere.
  validatorUrl: null,
  // A key typed in here is forgotten with the page.
  persistAuthorization: false,
  displayRequestDuration: true,
  tryItOutEnabled: true,
});
