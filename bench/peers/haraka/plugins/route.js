'use strict';

// Everything goes to the receiver of the measurement.
exports.hook_get_mx = (next, hmail, domain) => {
  next(OK, { exchange: '127.0.0.1', port: @RECEIVER@, priority: 0 });
};
